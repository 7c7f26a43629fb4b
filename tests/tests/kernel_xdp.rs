//! The XDP program's verdict and counter by destination, in both families: who owns which port of which address. And
//! whatever the frame: it is counted once, and nothing makes the program abort. Needs root and BPF, nothing else.

use std::net::{TcpListener, TcpStream};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use spectrum_common::Reason;
use spectrum_tests::{
    Frame, Kernel,
    frame::{self, ACK, ETHER_QINQ, ETHER_VLAN, Extension, Fragment, UDP},
    kernel::{Action, App, Closed, EDGE, POOL, SOURCE},
};

#[test]
fn an_application_owns_its_port() {
    let kernel = Kernel::firewalled();
    for frame in Frame::both() {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
    }
    assert_eq!(kernel.app_counter(1, Reason::Steered), 2);
    assert_eq!(kernel.packets(), 2);
}

#[test]
fn every_segment_of_a_connection_is_counted_for_its_application() {
    let kernel = Kernel::firewalled();
    let frame = Frame { payload: vec![7; 1000], ..Frame::tcp_syn() }.build();
    for _ in 0..5 {
        kernel.verdict(&frame);
    }
    assert_eq!(kernel.app_counter(1, Reason::Steered), 5);
    assert_eq!(kernel.app_counter(2, Reason::Steered), 0);
}

#[test]
fn a_destination_that_is_nobodys_passes_untouched() {
    let mut kernel = Kernel::firewalled().with_pools(Closed::Drop);
    for (frame, source) in Frame::both().into_iter().zip(SOURCE) {
        kernel.block(source);
        let host = ["192.0.2.1", "2001:db8:c::1"][usize::from(frame.source.is_ipv6())];
        assert_eq!(kernel.verdict(&frame.to(host, 22).build()), Reason::NotOurs, "I3: also from a blocked source");
    }
}

#[test]
fn other_ports_of_the_hosts_own_address_are_nobodys() {
    let kernel = Kernel::firewalled();
    for (frame, edge) in Frame::both().into_iter().zip(EDGE) {
        for port in [0, 22, 442, 444, 65535] {
            assert_eq!(kernel.verdict(&frame.clone().to(edge, port).build()), Reason::NotOurs, "port {port}");
        }
    }
}

#[test]
fn another_transport_on_an_applications_port_is_nobodys() {
    let kernel = Kernel::firewalled();
    for frame in Frame::both() {
        assert_eq!(kernel.verdict(&Frame { protocol: UDP, ..frame }.build()), Reason::NotOurs);
    }
}

#[test]
fn closed_ports_of_a_pool_are_dropped() {
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let kernel = Kernel::firewalled().with_pools(Closed::Reset);
    for frame in Frame::both() {
        let closed = Frame { destination_port: 444, ..frame };
        assert_eq!(kernel.verdict(&closed.build()), Reason::ClosedPortReset);
    }
}

#[test]
fn a_pool_ends_where_its_prefix_does() {
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let mut kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
