//! The XDP program's verdict and counter for every kind of packet, in both families. Needs root and BPF, nothing else.

use std::{
    net::{TcpListener, TcpStream},
    time::Instant,
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use spectrum_common::{
    Reason,
    layout::{CAPTURE, NO_APP},
    limits,
};
use spectrum_tests::{
    Frame, Kernel,
    frame::{
        self, ACK, ETHER_ARP, ETHER_QINQ, ETHER_VLAN, ETHERNET, Extension, Fragment, ICMP, IPV4, IPV6, PORTS, UDP, VLAN,
    },
    kernel::{Action, App, Closed},
};

const EDGE: [&str; 2] = ["198.51.100.10", "2001:db8:51::10"];
const POOL: [&str; 2] = ["198.51.100.0/24", "2001:db8:51::/64"];
/// The default source of a frame, and prefixes that cover it.
const SOURCE: [&str; 2] = ["192.0.2.7", "2001:db8:c::7"];
const SOURCE_NET: [&str; 2] = ["192.0.2.0/24", "2001:db8:c::/48"];

/// The ordinary node: port 443 of the edge address belongs to application 1, which checks access rules.
fn node() -> Kernel {
    let mut kernel = Kernel::load();
    for address in EDGE {
        kernel.steer(&App { address: address.into(), ip_firewall: true, ..App::default() });
    }
    kernel
}

/// As [`node`], and the pools are ours.
fn node_with_pool(closed: Closed) -> Kernel {
    let mut kernel = node();
    for pool in POOL {
        kernel.pool(pool, closed);
    }
    kernel
}

fn fragment(offset: u16, more: bool) -> [Frame; 2] {
    let part = Fragment { offset, more };
    let payload = vec![0; 64];
    [
        Frame { fragment: Some(part), payload: payload.clone(), ..Frame::tcp_syn() },
        Frame { extensions: vec![Extension::Fragment(part)], payload, ..Frame::tcp_syn_v6() },
    ]
}

#[test]
fn an_application_owns_its_port() {
    let kernel = node();
    for frame in Frame::both() {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
    }
    assert_eq!(kernel.app_counter(1, Reason::Steered), 2);
    assert_eq!(kernel.packets(), 2);
}

#[test]
fn every_segment_of_a_connection_is_counted_for_its_application() {
    let kernel = node();
    let frame = Frame { payload: vec![7; 1000], ..Frame::tcp_syn() }.build();
    for _ in 0..5 {
        kernel.verdict(&frame);
    }
    assert_eq!(kernel.app_counter(1, Reason::Steered), 5);
    assert_eq!(kernel.app_counter(2, Reason::Steered), 0);
}

#[test]
fn what_is_not_ip_passes() {
    let kernel = node_with_pool(Closed::Drop);
    let arp = Frame { ether_type: Some(ETHER_ARP), ..Frame::tcp_syn() };
    assert_eq!(kernel.verdict(&arp.build()), Reason::NotIp);
    // A length in place of a type (IEEE 802.3).
    let llc = Frame { ether_type: Some(46), ..Frame::tcp_syn() };
    assert_eq!(kernel.verdict(&llc.build()), Reason::NotIp);
}

#[test]
fn a_destination_that_is_nobodys_passes_untouched() {
    let mut kernel = node_with_pool(Closed::Drop);
    for (frame, source) in Frame::both().into_iter().zip(SOURCE) {
        kernel.block(source);
        let host = ["192.0.2.1", "2001:db8:c::1"][usize::from(frame.source.is_ipv6())];
        assert_eq!(kernel.verdict(&frame.to(host, 22).build()), Reason::NotOurs, "I3: also from a blocked source");
    }
}

#[test]
fn other_ports_of_the_hosts_own_address_are_nobodys() {
    let kernel = node();
    for (frame, edge) in Frame::both().into_iter().zip(EDGE) {
        for port in [0, 22, 442, 444, 65535] {
            assert_eq!(kernel.verdict(&frame.clone().to(edge, port).build()), Reason::NotOurs, "port {port}");
        }
    }
}

#[test]
fn another_transport_on_an_applications_port_is_nobodys() {
    let kernel = node();
    for frame in Frame::both() {
        assert_eq!(kernel.verdict(&Frame { protocol: UDP, ..frame }.build()), Reason::NotOurs);
    }
}

#[test]
fn other_protocols_pass_even_to_a_pool_address() {
    let kernel = node_with_pool(Closed::Drop);
    for frame in Frame::both() {
        for protocol in [ICMP, 2, 47, 50, 58, 59, 132, 255] {
            let frame = Frame { protocol, ..frame.clone() };
            assert_eq!(kernel.verdict(&frame.build()), Reason::OtherProtocol, "protocol {protocol}");
        }
    }
}

#[test]
fn closed_ports_of_a_pool_are_dropped() {
    let kernel = node_with_pool(Closed::Drop);
    for frame in Frame::both() {
        let closed = Frame { destination_port: 444, ..frame.clone() };
        assert_eq!(kernel.verdict(&closed.build()), Reason::ClosedPort);
        assert_eq!(kernel.verdict(&Frame { protocol: UDP, ..closed }.build()), Reason::ClosedPort);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered, "the application's port is open");
    }
}

#[test]
fn a_segment_of_an_open_connection_passes_a_closed_port() {
    for (pool, ip) in [("127.0.0.0/8", "127.0.0.1"), ("::1/128", "::1")] {
        let mut kernel = Kernel::load();
        kernel.pool(pool, Closed::Drop);
        // A connection of this host, to a port that no application has.
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, client) = (connection.peer_addr().unwrap(), connection.local_addr().unwrap());
        let syn = Frame {
            source: client.ip(),
            source_port: client.port(),
            ..if client.is_ipv4() { Frame::tcp_syn() } else { Frame::tcp_syn_v6() }
        }
        .to(ip, server.port());
        let ack = Frame { tcp_flags: ACK, ..syn.clone() };
        assert_eq!(kernel.verdict(&ack.build()), Reason::OpenConnection, "{ip}");
        assert_eq!(kernel.verdict(&syn.build()), Reason::ClosedPort, "what begins a connection belongs to none");
        let stranger = Frame { source_port: 1, ..ack };
        assert_eq!(kernel.verdict(&stranger.build()), Reason::ClosedPort, "a stray segment");
        assert_eq!(kernel.verdict(&Frame { protocol: UDP, ..syn }.build()), Reason::ClosedPort);
    }
}

#[test]
fn closed_ports_of_a_pool_can_be_left_for_the_kernel_to_reset() {
    let kernel = node_with_pool(Closed::Reset);
    for frame in Frame::both() {
        let closed = Frame { destination_port: 444, ..frame };
        assert_eq!(kernel.verdict(&closed.build()), Reason::ClosedPortReset);
    }
}

#[test]
fn a_pool_ends_where_its_prefix_does() {
    let kernel = node_with_pool(Closed::Drop);
    let [v4, v6] = Frame::both();
    for (inside, outside) in [("198.51.100.0", "198.51.99.255"), ("198.51.100.255", "198.51.101.0")] {
        assert_eq!(kernel.verdict(&v4.clone().to(inside, 80).build()), Reason::ClosedPort);
        assert_eq!(kernel.verdict(&v4.clone().to(outside, 80).build()), Reason::NotOurs);
    }
    let (first, last) = ("2001:db8:51::", "2001:db8:51:0:ffff:ffff:ffff:ffff");
    for (inside, outside) in [(first, "2001:db8:50:ffff:ffff:ffff:ffff:ffff"), (last, "2001:db8:51:1::")] {
        assert_eq!(kernel.verdict(&v6.clone().to(inside, 80).build()), Reason::ClosedPort);
        assert_eq!(kernel.verdict(&v6.clone().to(outside, 80).build()), Reason::NotOurs);
    }
}

#[test]
fn a_range_owns_its_edges_and_nothing_beside_them() {
    let mut kernel = Kernel::load();
    for address in EDGE {
        for (number, ports) in [(1, 1000..=2000), (2, 1..=1), (3, 65535..=65535), (4, 4096..=8191)] {
            kernel.steer(&App { number, address: address.into(), ports, ..App::default() });
        }
    }
    for (frame, edge) in Frame::both().into_iter().zip(EDGE) {
        for port in [1, 1000, 1001, 1999, 2000, 4096, 8191, 65535] {
            assert_eq!(kernel.verdict(&frame.clone().to(edge, port).build()), Reason::Steered, "port {port}");
        }
        for port in [0, 2, 999, 2001, 4095, 8192, 65534] {
            assert_eq!(kernel.verdict(&frame.clone().to(edge, port).build()), Reason::NotOurs, "port {port}");
        }
    }
    let counted = [1, 2, 3, 4].map(|app| kernel.app_counter(app, Reason::Steered));
    assert_eq!(counted, [8, 2, 2, 4]);
}

#[test]
fn every_port_of_an_address_can_be_one_applications() {
    let mut kernel = Kernel::load();
    kernel.pool(POOL[0], Closed::Drop);
    kernel.steer(&App { ports: 1..=u16::MAX, ..App::default() });
    for port in 0..=u16::MAX {
        let frame = Frame { destination_port: port, ..Frame::tcp_syn() };
        kernel.xdp(&frame.build());
    }
    assert_eq!(kernel.counter(Reason::Steered), 65535);
    assert_eq!(kernel.counter(Reason::ClosedPort), 1, "port 0 is nobody's");
}

#[test]
fn the_most_specific_of_overlapping_owners_has_the_port() {
    let mut kernel = Kernel::load();
    kernel.pool(POOL[0], Closed::Drop);
    kernel.steer(&App { number: 1, ports: 1..=u16::MAX, ..App::default() });
    kernel.steer(&App { number: 2, ports: 1024..=2047, ..App::default() });
    kernel.steer(&App { number: 3, ports: 1500..=1500, ..App::default() });
    for (port, app) in [(1023, 1), (1024, 2), (1499, 2), (1500, 3), (1501, 2), (2047, 2), (2048, 1)] {
        let before = kernel.app_counter(app, Reason::Steered);
        assert_eq!(kernel.verdict(&Frame { destination_port: port, ..Frame::tcp_syn() }.build()), Reason::Steered);
        assert_eq!(kernel.app_counter(app, Reason::Steered), before + 1, "port {port} is application {app}'s");
    }
}

#[test]
fn an_ipv4_address_and_its_mapped_form_are_told_apart_from_ipv6() {
    let mut kernel = Kernel::load();
    kernel.steer(&App { address: "198.51.100.10".into(), ..App::default() });
    // ::198.51.100.10 shares the last 32 bits with the edge address, and nothing else.
    assert_eq!(kernel.verdict(&Frame::tcp_syn_v6().to("::c633:640a", 443).build()), Reason::NotOurs);
}

#[test]
fn two_vlan_tags_are_looked_through_and_a_third_is_not() {
    let kernel = node();
    for frame in Frame::both() {
        for tag in [ETHER_VLAN, ETHER_QINQ] {
            let tagged = |vlans: Vec<u16>| Frame { vlans, ..frame.clone() }.build();
            assert_eq!(kernel.verdict(&tagged(vec![tag])), Reason::Steered);
            assert_eq!(kernel.verdict(&tagged(vec![tag, ETHER_VLAN])), Reason::Steered);
            assert_eq!(kernel.verdict(&tagged(vec![tag, ETHER_VLAN, ETHER_VLAN])), Reason::NotIp);
        }
    }
}

#[test]
fn ipv4_options_are_skipped_whatever_their_length() {
    let mut kernel = node_with_pool(Closed::Drop);
    for ipv4_options in 0..=10 {
        let frame = Frame { ipv4_options, ..Frame::tcp_syn() };
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered, "{ipv4_options} words");
        let closed = Frame { destination_port: 444, ..frame };
        assert_eq!(kernel.verdict(&closed.build()), Reason::ClosedPort, "{ipv4_options} words");
    }
    kernel.block(SOURCE[0]);
    assert_eq!(kernel.verdict(&Frame { ipv4_options: 10, ..Frame::tcp_syn() }.build()), Reason::Blocked);
}

#[test]
fn a_header_that_contradicts_itself_passes() {
    let mut kernel = node_with_pool(Closed::Drop);
    kernel.block(SOURCE[0]);
    for ihl in 0..5 {
        let frame = Frame { ihl: Some(ihl), ..Frame::tcp_syn() };
        assert_eq!(kernel.verdict(&frame.build()), Reason::Malformed, "ihl {ihl}");
    }
    for (frame, right) in Frame::both().into_iter().zip([4, 6]) {
        for version in (0..16).filter(|version| *version != right) {
            let frame = Frame { version: Some(version), ..frame.clone() };
            assert_eq!(kernel.verdict(&frame.build()), Reason::Malformed, "version {version}");
        }
    }
}

#[test]
fn a_header_length_beyond_the_frame_is_a_truncation() {
    let kernel = node_with_pool(Closed::Drop);
    // 15 words are 60 bytes, and only 40 follow.
    let frame = Frame { ihl: Some(15), ..Frame::tcp_syn() };
    assert_eq!(kernel.verdict(&frame.build()), Reason::Truncated);
}

#[test]
fn a_frame_cut_anywhere_passes_and_is_counted_once() {
    let mut kernel = node_with_pool(Closed::Drop);
    let chain = vec![Extension::HopByHop, Extension::Destination(2), Extension::Authentication];
    let shapes = [
        (Frame::tcp_syn(), ETHERNET + IPV4),
        (Frame::tcp_syn_v6(), ETHERNET + IPV6),
        (Frame { vlans: vec![ETHER_QINQ, ETHER_VLAN], ..Frame::tcp_syn() }, ETHERNET + 2 * VLAN + IPV4),
        (Frame { vlans: vec![ETHER_VLAN], ..Frame::tcp_syn_v6() }, ETHERNET + VLAN + IPV6),
        (Frame { ipv4_options: 10, ..Frame::tcp_syn() }, ETHERNET + IPV4 + 40),
        (Frame { extensions: chain, ..Frame::tcp_syn_v6() }, ETHERNET + IPV6 + 8 + 24 + 12),
    ];
    for source in SOURCE {
        kernel.block(source);
    }
    for (frame, transport) in shapes {
        let whole = frame.build().len();
        for length in ETHERNET..=whole {
            let cut = Frame { truncate_at: Some(length), ..frame.clone() };
            // The ports are the last that is read: whoever has them can be judged.
            let expected = if length < transport + PORTS { Reason::Truncated } else { Reason::Blocked };
            assert_eq!(kernel.verdict(&cut.build()), expected, "{length} of {whole} bytes: {frame:?}");
        }
    }
}

#[test]
fn a_first_fragment_has_ports_and_is_judged_by_them() {
    let mut kernel = node_with_pool(Closed::Drop);
    for (frame, source) in fragment(0, true).into_iter().zip(SOURCE) {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
        let closed = Frame { destination_port: 444, ..frame.clone() };
        assert_eq!(kernel.verdict(&closed.build()), Reason::ClosedPort);
        kernel.block(source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
    }
}

#[test]
fn an_ipv6_packet_in_one_fragment_is_whole() {
    let kernel = node();
    let [_, atomic] = fragment(0, false); // RFC 6946
    assert_eq!(kernel.verdict(&atomic.build()), Reason::Steered);
}

#[test]
fn a_later_fragment_passes_without_being_taken_for_a_port() {
    let kernel = node_with_pool(Closed::Drop);
    for more in [true, false] {
        for frame in fragment(3, more).into_iter().chain(fragment(0x1fff, more)) {
            assert_eq!(kernel.verdict(&frame.build()), Reason::LaterFragment);
        }
    }
}

#[test]
fn a_later_fragment_to_the_hosts_own_address_is_nobodys() {
    let kernel = node_with_pool(Closed::Drop);
    for (frame, host) in fragment(100, false).into_iter().zip(["192.0.2.1", "2001:db8:c::1"]) {
        assert_eq!(kernel.verdict(&frame.to(host, 443).build()), Reason::NotOurs);
    }
}

#[test]
fn a_later_fragment_may_be_shorter_than_ports() {
    let kernel = node_with_pool(Closed::Drop);
    for frame in fragment(8, false) {
        let frame = Frame { payload: vec![0; 1], ..frame };
        assert_eq!(kernel.verdict(&frame.build()), Reason::LaterFragment);
    }
}

#[test]
fn as_many_extension_headers_as_the_limit_are_followed() {
    let kernel = node_with_pool(Closed::Drop);
    let kinds = [
        Extension::HopByHop,
        Extension::Routing,
        Extension::Destination(0),
        Extension::Destination(31),
        Extension::Authentication,
        Extension::Mobility,
        Extension::Fragment(Fragment { offset: 0, more: true }),
    ];
    for kind in kinds {
        for count in 0..=limits::IPV6_EXTENSIONS + 2 {
            let frame = Frame { extensions: vec![kind; count], ..Frame::tcp_syn_v6() };
            let follows = count <= limits::IPV6_EXTENSIONS;
            let (open, closed) = if follows {
                (Reason::Steered, Reason::ClosedPort)
            } else {
                (Reason::TooManyHeaders, Reason::TooManyHeaders)
            };
            assert_eq!(kernel.verdict(&frame.build()), open, "{count} times {kind:?}");
            let frame = Frame { destination_port: 444, ..frame };
            assert_eq!(kernel.verdict(&frame.build()), closed, "{count} times {kind:?}");
        }
    }
}

#[test]
fn a_chain_that_ends_without_a_transport_is_another_protocol() {
    const NO_NEXT_HEADER: u8 = 59;
    let kernel = node_with_pool(Closed::Drop);
    let extensions = vec![Extension::HopByHop; limits::IPV6_EXTENSIONS];
    let frame = Frame { extensions, protocol: NO_NEXT_HEADER, ..Frame::tcp_syn_v6() };
    assert_eq!(kernel.verdict(&frame.build()), Reason::OtherProtocol);
}

#[test]
fn a_blocked_source_is_dropped_and_its_neighbour_is_not() {
    for ((frame, net), neighbour) in Frame::both().into_iter().zip(SOURCE_NET).zip(["192.0.3.7", "2001:db8:d::7"]) {
        let mut kernel = node();
        kernel.block(net);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
        assert_eq!(kernel.verdict(&frame.from(neighbour).build()), Reason::Steered);
        assert_eq!(kernel.app_counter(1, Reason::Blocked), 1);
    }
}

#[test]
fn an_application_without_ip_firewall_ignores_rules() {
    let mut kernel = Kernel::load();
    for ((frame, edge), source) in Frame::both().into_iter().zip(EDGE).zip(SOURCE) {
        kernel.steer(&App { address: edge.into(), ip_firewall: false, ..App::default() });
        kernel.block(source);
        kernel.block_in(1, source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
    }
}

#[test]
fn a_rule_that_is_only_tried_is_told_and_does_nothing() {
    let mut kernel = node();
    for (frame, (source, net)) in Frame::both().into_iter().zip(SOURCE.into_iter().zip(SOURCE_NET)) {
        kernel.simulate(net);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Simulated);
        kernel.block(net);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked, "a rule that is meant goes first");
        kernel.forget_rules();
        kernel.simulate(source);
        kernel.allow(net);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Allowed, "and so does an allow rule");
        kernel.forget_rules();
    }
}

#[test]
fn a_closed_port_is_closed_to_allowed_sources_too() {
    let mut kernel = node_with_pool(Closed::Drop);
    for (frame, source) in Frame::both().into_iter().zip(SOURCE) {
        kernel.allow(source);
        assert_eq!(kernel.verdict(&Frame { destination_port: 444, ..frame }.build()), Reason::ClosedPort);
    }
}

#[test]
fn allow_beats_block_whichever_is_more_specific_and_whatever_its_scope() {
    const USER: u32 = 0;
    const ZONE: u32 = 1;
    type Prefixes = [&'static str; 2];
    let pairs: [(Prefixes, Prefixes); 3] = [(SOURCE, SOURCE_NET), (SOURCE_NET, SOURCE), (SOURCE, SOURCE)];
    let mut kernel = node();
    for (family, frame) in Frame::both().into_iter().enumerate() {
        for (allow, block) in pairs {
            for (allow_scope, block_scope) in [(USER, USER), (ZONE, ZONE), (USER, ZONE), (ZONE, USER)] {
                kernel.forget_rules();
                kernel.block_in(block_scope, block[family]);
                assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
                kernel.allow_in(allow_scope, allow[family]);
                let said = format!("allow {allow:?} in {allow_scope}, block {block:?} in {block_scope}");
                assert_eq!(kernel.verdict(&frame.build()), Reason::Allowed, "{said}");
            }
        }
    }
}

#[test]
fn a_zones_rules_are_for_its_applications_alone() {
    let mut kernel = node();
    for (frame, source) in Frame::both().into_iter().zip(SOURCE) {
        kernel.block_in(2, source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
        kernel.block_in(1, source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
    }
}

#[test]
fn the_whole_internet_can_be_blocked_but_for_one_address() {
    let mut kernel = node();
    kernel.block("0.0.0.0/0");
    kernel.block("::/0");
    for (frame, source) in Frame::both().into_iter().zip(SOURCE) {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
        kernel.allow(source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Allowed);
    }
}

#[test]
fn a_drop_makes_an_event_that_says_who_and_why() {
    let mut kernel = node();
    kernel.block("198.18.0.0/15");
    let rule = kernel.block(SOURCE_NET[0]);
    kernel.verdict(&Frame::tcp_syn().build());
    let events = kernel.events();
    let [event] = &events[..] else { panic!("one drop, one event: {events:?}") };
    assert_eq!(Reason::from_index(event.reason), Some(Reason::Blocked));
    assert_eq!((event.weight, event.drops), (1, 1), "one of all packets, and one of the drops");
    assert_eq!((event.app, event.rule, event.length, event.protocol), (1, rule, 54, u32::from(frame::TCP)));
    assert_eq!((event.tcp_flags, event.transport), (2, 34), "a SYN behind Ethernet and IPv4");
    assert_eq!(event.source, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
    assert_eq!(event.destination[12..], [198, 51, 100, 10]);
    assert_eq!((event.source_port, event.destination_port), (40_000_u16.to_be_bytes(), 443_u16.to_be_bytes()));
}

#[test]
fn the_rule_of_the_zone_is_named_before_the_users() {
    let mut kernel = node();
    kernel.block(SOURCE[0]);
    let zones = kernel.block_in(1, SOURCE_NET[0]);
    kernel.verdict(&Frame::tcp_syn().build());
    assert_eq!(kernel.events().first().map(|event| event.rule), Some(zones));
}

#[test]
fn what_is_for_nobody_here_makes_no_event_unless_asked_to_explain() {
    let quiet = node();
    quiet.verdict(&Frame { destination: "192.0.2.1".parse().unwrap(), ..Frame::tcp_syn() }.build());
    quiet.verdict(&Frame { protocol: 47, ..Frame::tcp_syn() }.build());
    assert_eq!(quiet.events(), []);

    let explaining = Kernel::load_explaining();
    explaining.verdict(&Frame::tcp_syn().build());
    let events = explaining.events();
    let [event] = &events[..] else { panic!("one packet, one event: {events:?}") };
    assert_eq!((Reason::from_index(event.reason), event.app), (Some(Reason::NotOurs), NO_APP));
}

#[test]
fn what_passes_to_an_application_is_a_sample_but_none_of_the_drops() {
    let kernel = node();
    kernel.verdict(&Frame::tcp_syn().build());
    let events = kernel.events();
    let [event] = &events[..] else { panic!("one packet, one event: {events:?}") };
    assert_eq!((Reason::from_index(event.reason), event.app), (Some(Reason::Steered), 1));
    assert_eq!((event.weight, event.drops), (1, 0));
}

#[test]
fn a_sample_holds_the_front_of_the_frame() {
    let mut kernel = node();
    kernel.block(SOURCE_NET[0]);
    // As short as a frame can be that is somebody's, around the edge of what is kept, and large ones.
    for payload in [0, 1, 73, 74, 75, 1000, 1400] {
        for vlans in [vec![], vec![ETHER_QINQ, ETHER_VLAN]] {
            let payload = (0..payload).map(|byte: u16| byte.to_be_bytes()[1]).collect();
            let frame = Frame { payload, vlans, ..Frame::tcp_syn() }.build();
            assert_eq!(kernel.verdict(&frame), Reason::Blocked);
            let events = kernel.events();
            let [event] = &events[..] else { panic!("one drop, one event: {events:?}") };
            let captured = event.captured as usize;
            assert_eq!(captured, frame.len().min(CAPTURE));
            assert_eq!(event.bytes[..captured], frame[..captured]);
            assert_eq!(event.length as usize, frame.len());
        }
    }
}

#[test]
fn a_flood_of_drops_makes_few_events_that_say_how_many_they_stand_for() {
    let kernel = node_with_pool(Closed::Drop);
    let frame = Frame { destination_port: 444, ..Frame::tcp_syn() }.build();
    let flood: u32 = 60_000;
    let (begin, mut events) = (Instant::now(), Vec::new());
    for _ in 0..flood / 1_000 {
        (0..1_000).for_each(|_| assert_eq!(kernel.xdp(&frame), Action::Drop));
        events.extend(kernel.events());
    }
    // An emulated machine is slow, and has more samples for it.
    let seconds = usize::try_from(begin.elapsed().as_secs()).expect("a short test") + 1;
    let at_once = (limits::DROP_SAMPLES + limits::TRAFFIC_BURST) as usize;
    let most = at_once + seconds * (limits::DROP_SAMPLES + limits::TRAFFIC_SAMPLES) as usize;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(!events.is_empty() && events.len() <= most * cpus, "{} events in {seconds} s", events.len());
    // Each CPU that ran it has up to a distance of packets that no event stands for yet.
    for told in [events.iter().map(|event| event.drops).sum::<u32>(), events.iter().map(|event| event.weight).sum()] {
        assert!(told <= flood && told > flood / 2, "{told} told of {flood}");
    }
    assert_eq!(kernel.counter(Reason::ClosedPort), u64::from(flood), "the counter misses none");
}

#[test]
fn among_much_that_passes_the_few_drops_are_all_samples() {
    let mut kernel = node();
    kernel.block(SOURCE_NET[0]);
    let blocked = Frame::tcp_syn().build();
    let passes = Frame { source: "203.0.113.9".parse().unwrap(), tcp_flags: ACK, ..Frame::tcp_syn() }.build();
    for _ in 0..20 {
        (0..1_000).for_each(|_| assert_eq!(kernel.xdp(&passes), Action::Pass));
        assert_eq!(kernel.xdp(&blocked), Action::Drop);
    }
    let events = kernel.events();
    assert_eq!(events.iter().map(|event| event.drops).sum::<u32>(), 20);
    // The shares that the samples show are those of the packets.
    let weight = |reason: Reason| -> u32 {
        events.iter().filter(|event| event.reason == reason.index()).map(|event| event.weight).sum()
    };
    assert!(weight(Reason::Steered) > 10_000 && weight(Reason::Blocked) < 1_000, "{}", weight(Reason::Blocked));
}

/// Any combination of what a frame can be, most of them strange.
fn frames() -> impl Strategy<Value = Frame> {
    let tags = prop::collection::vec(prop::sample::select(vec![ETHER_VLAN, ETHER_QINQ]), 0..4);
    let part = (0_u16..4, any::<bool>()).prop_map(|(offset, more)| Fragment { offset, more });
    let extension = prop_oneof![
        Just(Extension::HopByHop),
        Just(Extension::Routing),
        (0_u8..4).prop_map(Extension::Destination),
        Just(Extension::Authentication),
        Just(Extension::Mobility),
        part.clone().prop_map(Extension::Fragment),
    ];
    let outer = (tags, prop::option::weighted(0.1, any::<u16>()), prop::option::weighted(0.1, 0_u8..16), any::<bool>());
    let inner = (
        prop::option::weighted(0.1, 0_u8..16),
        0_usize..=10,
        prop::collection::vec(extension, 0..6),
        prop::option::weighted(0.2, part),
        prop_oneof![3 => Just(frame::TCP), 1 => Just(UDP), 1 => any::<u8>()],
        prop_oneof![Just(443_u16), Just(444), any::<u16>()],
        prop::option::weighted(0.3, 14_usize..200),
    );
    (outer, inner).prop_map(|((vlans, ether_type, version, v6), inner)| {
        let (ihl, ipv4_options, extensions, fragment, protocol, destination_port, truncate_at) = inner;
        let base = if v6 { Frame::tcp_syn_v6() } else { Frame::tcp_syn() };
        let payload = vec![0; 32];
        Frame {
            vlans,
            ether_type,
            version,
            ihl,
            ipv4_options,
            extensions,
            fragment,
            protocol,
            destination_port,
            truncate_at,
            payload,
            ..base
        }
    })
}

/// Fewer cases where `PROPTEST_CASES` says so: an emulated machine is slow.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").map_or(usual, |cases| cases.parse().expect("PROPTEST_CASES is a number"))
}

#[test]
fn every_packet_is_counted_exactly_once() {
    let mut kernel = node_with_pool(Closed::Drop);
    kernel.block("192.0.2.7");
    let mut runner = TestRunner::new(Config { cases: cases(3_000), failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&frames(), |frame| {
        // I5: panics unless it was counted under exactly one reason, and treated as that reason says.
        kernel.verdict(&frame.build());
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn whatever_the_bytes_are_the_program_never_aborts() {
    let kernel = node_with_pool(Closed::Drop);
    let bytes = prop::collection::vec(any::<u8>(), 14..300);
    let kind = prop::sample::select(vec![[8, 0], [0x86, 0xdd], [0x81, 0], [0x88, 0xa8]]);
    let mut runner = TestRunner::new(Config { cases: cases(5_000), failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(bytes, prop::option::weighted(0.9, kind)), |(mut bytes, kind)| {
        if let Some(kind) = kind {
            bytes[12..14].copy_from_slice(&kind);
        }
        let before = kernel.packets();
        let action = kernel.xdp(&bytes);
        prop_assert!(matches!(action, Action::Pass | Action::Drop), "I4: {action:?}");
        prop_assert_eq!(kernel.packets(), before + 1);
        Ok(())
    });
    outcome.unwrap();
}
