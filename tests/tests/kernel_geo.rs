//! Rules by network and country, and the table that says which address is of which.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use ipnet::IpNet;
use proptest::{prelude::*, test_runner::TestRunner};
use spectrum_common::{
    Reason,
    geo::{self, Class},
    layout::{RuleValue, SCOPE_USER},
};
use spectrum_tests::{
    frame::Frame,
    kernel::{App, Kernel, in_own_network},
};
use spectrum_user::{
    geo::Table,
    model::{Country, GeoMemory, Target},
};

const NETWORKS: [(&str, u32, &str); 5] = [
    ("192.0.2.0/25", 64500, "DE"),
    ("192.0.2.128/25", 64501, "FR"),
    ("198.18.0.0/15", 64502, "DE"),
    ("2001:db8:1::/48", 64500, "DE"),
    ("2001:db8:2::/47", 64501, "FR"),
];

fn asn(number: u32) -> Target {
    Target::Asn(number)
}

fn country(code: &str) -> Target {
    Target::Country(Country::new(code).unwrap())
}

fn block(number: u32) -> RuleValue {
    RuleValue { block: number, ..RuleValue::default() }
}

fn allow(number: u32) -> RuleValue {
    RuleValue { allow: number, ..RuleValue::default() }
}

/// An application of each family that checks all rules, and a table.
fn node() -> Kernel {
    let mut kernel = Kernel::load_explaining();
    kernel.steer(&App { ip_firewall: true, class_rules: true, ..App::default() });
    kernel.steer(&App {
        number: 2,
        zone: 2,
        address: "2001:db8:51::10".into(),
        ip_firewall: true,
        class_rules: true,
        ..App::default()
    });
    kernel.networks(&NETWORKS, GeoMemory::Compact);
    kernel
}

fn from(source: &str) -> Vec<u8> {
    let frame = if source.contains(':') { Frame::tcp_syn_v6() } else { Frame::tcp_syn() };
    frame.from(source).build()
}

/// The verdict on a packet from `source`, and the rule that is told.
fn verdict(kernel: &mut Kernel, source: &str) -> (Reason, u32) {
    kernel.events();
    let reason = kernel.verdict(&from(source));
    (reason, kernel.events()[0].rule)
}

#[test]
fn a_rule_names_every_address_of_a_network_or_country() {
    in_own_network(|| {
        for memory in [GeoMemory::Compact, GeoMemory::Full] {
            let mut kernel = node();
            kernel.networks(&NETWORKS, memory);
            kernel.class_rule(SCOPE_USER, asn(64500), block(7));
            kernel.class_rule(SCOPE_USER, country("FR"), block(8));
            for (source, expected) in [
                ("192.0.2.1", (Reason::Blocked, 7)),
                ("192.0.2.127", (Reason::Blocked, 7)),
                ("192.0.2.128", (Reason::Blocked, 8)),
                ("192.0.2.255", (Reason::Blocked, 8)),
                ("192.0.3.0", (Reason::Steered, 0)),
                ("192.0.1.255", (Reason::Steered, 0)),
                ("198.19.255.255", (Reason::Steered, 0)),
                ("2001:db8:1::1", (Reason::Blocked, 7)),
                ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", (Reason::Blocked, 7)),
                ("2001:db8:3::1", (Reason::Blocked, 8)),
                ("2001:db8:4::", (Reason::Steered, 0)),
                ("2001:db8:0:ffff::", (Reason::Steered, 0)),
            ] {
                assert_eq!(verdict(&mut kernel, source), expected, "{source} {memory:?}");
            }
        }
    });
}

#[test]
fn the_most_specific_target_is_told_and_allow_beats_block_across_targets() {
    in_own_network(|| {
        let mut kernel = node();
        let source = "192.0.2.1";
        kernel.class_rule(SCOPE_USER, country("DE"), block(30));
        assert_eq!(verdict(&mut kernel, source), (Reason::Blocked, 30));
        kernel.class_rule(1, country("DE"), block(31));
        assert_eq!(verdict(&mut kernel, source), (Reason::Blocked, 31), "the zone's before everybody's");
        kernel.class_rule(SCOPE_USER, asn(64500), block(20));
        assert_eq!(verdict(&mut kernel, source), (Reason::Blocked, 20));
        let prefix = kernel.block("192.0.2.0/24");
        assert_eq!(verdict(&mut kernel, source), (Reason::Blocked, prefix));
        kernel.class_rule(SCOPE_USER, country("DE"), allow(40));
        assert_eq!(verdict(&mut kernel, source), (Reason::Allowed, 40), "an allowed country beats a blocked address");
        let allowed = kernel.allow("192.0.2.1");
        assert_eq!(verdict(&mut kernel, source), (Reason::Allowed, allowed));
    });
}

#[test]
fn a_zones_rule_is_for_its_applications_alone() {
    in_own_network(|| {
        let mut kernel = node();
        kernel.class_rule(2, country("DE"), block(5));
        assert_eq!(verdict(&mut kernel, "192.0.2.1"), (Reason::Steered, 0));
        assert_eq!(verdict(&mut kernel, "2001:db8:1::1"), (Reason::Blocked, 5));
    });
}

#[test]
fn a_rule_that_is_only_tried_is_told() {
    in_own_network(|| {
        let mut kernel = node();
        kernel.class_rule(SCOPE_USER, asn(64500), RuleValue { simulate: 9, ..RuleValue::default() });
        assert_eq!(verdict(&mut kernel, "192.0.2.1"), (Reason::Simulated, 9));
        assert_eq!(verdict(&mut kernel, "192.0.2.200"), (Reason::Steered, 0));
    });
}

#[test]
fn an_application_without_such_rules_does_not_ask() {
    in_own_network(|| {
        let mut kernel = node();
        kernel.steer(&App { ip_firewall: true, ..App::default() });
        kernel.class_rule(SCOPE_USER, country("DE"), block(1));
        assert_eq!(verdict(&mut kernel, "192.0.2.1"), (Reason::Steered, 0));
        assert_eq!(verdict(&mut kernel, "2001:db8:1::1"), (Reason::Blocked, 1));
    });
}

#[test]
fn without_a_table_every_source_is_of_no_known_country() {
    in_own_network(|| {
        let mut kernel = node();
        kernel.class_rule(SCOPE_USER, country("DE"), block(1));
        kernel.class_rule(SCOPE_USER, country("XX"), block(2));
        assert_eq!(verdict(&mut kernel, "192.0.2.1"), (Reason::Blocked, 1));
        assert_eq!(verdict(&mut kernel, "203.0.113.1"), (Reason::Blocked, 2), "an address that no network has");
        kernel.table(&Table::default(), GeoMemory::Compact);
        assert_eq!(verdict(&mut kernel, "192.0.2.1"), (Reason::Blocked, 2));
        assert_eq!(verdict(&mut kernel, "2001:db8:1::1"), (Reason::Blocked, 2));
    });
}

#[test]
fn a_table_of_any_size_takes_the_place_of_another() {
    in_own_network(|| {
        let mut kernel = node();
        kernel.class_rule(SCOPE_USER, country("DE"), block(1));
        for (network, memory) in [
            ("192.0.2.1/32", GeoMemory::Compact),
            ("192.0.0.0/8", GeoMemory::Full),
            ("0.0.0.0/0", GeoMemory::Compact),
            ("192.0.2.0/31", GeoMemory::Full),
        ] {
            kernel.networks(&[(network, 1, "DE")], memory);
            assert_eq!(verdict(&mut kernel, "192.0.2.1"), (Reason::Blocked, 1), "{network}");
            kernel.networks(&[(network, 1, "FR")], memory);
            assert_eq!(verdict(&mut kernel, "192.0.2.1"), (Reason::Steered, 0), "{network}");
        }
    });
}

#[test]
fn the_kernel_and_userspace_find_the_same_class() {
    in_own_network(|| {
        let mut kernel = node();
        kernel.class_rule(SCOPE_USER, country("DE"), block(1));
        // Networks of every length, next to one another.
        let lengths = |first: u8, last: u8| first..=last;
        let v4 = lengths(9, 32).map(|length| format!("10.{}.0.0/{length}", 128 | (length & 0x7f)));
        let v6 = lengths(20, 128).map(|length| format!("2a{length:02x}::/{length}"));
        let mut networks: Vec<IpNet> = v4.chain(v6).map(|network| network.parse::<IpNet>().unwrap().trunc()).collect();
        networks.sort();
        networks.dedup();
        let mut last = None;
        networks.retain(|network| {
            let clear = last.is_none_or(|last: IpNet| !last.contains(network));
            if clear {
                last = Some(*network);
            }
            clear
        });
        let classes: Vec<(IpNet, Class)> = networks
            .iter()
            .zip(0..)
            .map(|(network, index)| {
                (*network, Class { asn: index, country: geo::country(*[b"DE", b"FR"][index as usize % 2]) })
            })
            .collect();
        let table = Table::of(&classes).unwrap();
        for memory in [GeoMemory::Compact, GeoMemory::Full] {
            kernel.table(&table, memory);
            let near = (prop::sample::select(networks.clone()), any::<u128>());
            TestRunner::new(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })
                .run(&near, |(network, random)| {
                    // The first bit behind the prefix is as likely to differ as the last one of it.
                    let address = match network {
                        IpNet::V4(net) => {
                            let host = u32::try_from(random & 0xffff_ffff).unwrap()
                                >> u32::from(net.prefix_len().saturating_sub(1));
                            std::net::Ipv4Addr::from_bits(net.addr().to_bits() ^ host).to_string()
                        }
                        IpNet::V6(net) => {
                            let host = random >> u32::from(net.prefix_len().saturating_sub(1));
                            std::net::Ipv6Addr::from_bits(net.addr().to_bits() ^ host).to_string()
                        }
                    };
                    let expected = if table.class(address.parse().unwrap()).country == geo::country(*b"DE") {
                        Reason::Blocked
                    } else {
                        Reason::Steered
                    };
                    prop_assert_eq!(kernel.verdict(&from(&address)), expected, "{}", address);
                    Ok(())
                })
                .unwrap();
        }
    });
}
