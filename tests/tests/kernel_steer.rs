//! Which socket the `sk_lookup` program chooses. Needs root and BPF, nothing else.

use std::net::SocketAddr;

use spectrum_common::Reason;
use spectrum_tests::{
    Kernel,
    frame::UDP,
    kernel::{App, Closed, EDGE, Lookup},
};

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// Ports 1000 to 2000 of the edge address are application 1's, and its listener is there.
fn node() -> Kernel {
    let mut kernel = Kernel::node(&App { ports: 1000..=2000, ..App::default() });
    kernel.listen();
    kernel
}

#[test]
fn an_applications_ports_lead_to_our_listener_in_both_families() {
    let kernel = node();
    for edge in EDGE {
        for port in [1000, 1001, 1500, 2000] {
            assert_eq!(kernel.lookup(at(edge, port)), Lookup::Listener, "{edge} port {port}");
        }
    }
}

#[test]
fn what_is_beside_them_is_left_to_the_kernel() {
    let kernel = node();
    for edge in EDGE {
        for port in [0, 999, 2001, 65535] {
            assert_eq!(kernel.lookup(at(edge, port)), Lookup::Ordinary, "{edge} port {port}");
        }
    }
    for neighbour in ["198.51.100.9", "198.51.100.11", "2001:db8:51::f", "2001:db8:51::11"] {
        assert_eq!(kernel.lookup(at(neighbour, 1500)), Lookup::Ordinary, "{neighbour}");
    }
}

#[test]
fn another_transport_is_left_to_the_kernel() {
    let kernel = node();
    for edge in EDGE {
        assert_eq!(kernel.lookup_protocol(UDP, at(edge, 1500)), Lookup::Ordinary);
    }
}

#[test]
fn every_port_of_an_address_leads_to_the_one_listener() {
    let mut kernel = Kernel::load();
    kernel.steer(&App { ports: 1..=u16::MAX, ..App::default() });
    kernel.listen();
    for port in 1..=u16::MAX {
        assert_eq!(kernel.lookup(at(EDGE[0], port)), Lookup::Listener, "port {port}");
    }
}

#[test]
fn without_a_listener_a_steered_connection_is_refused_and_counted() {
    let mut kernel = node();
    kernel.close_listener();
    for edge in EDGE {
        // I6: another service of the host that listens on every address must not get it.
        assert_eq!(kernel.lookup(at(edge, 1500)), Lookup::Nobody);
    }
    assert_eq!(kernel.counter(Reason::NoListener), 2);
    assert_eq!(kernel.app_counter(1, Reason::NoListener), 2);
    assert_eq!(kernel.lookup(at(EDGE[0], 999)), Lookup::Ordinary, "what is not steered is not refused");
}

#[test]
fn closed_ports_of_a_pool_are_nobodys_whatever_the_host_listens_on() {
    for closed in [Closed::Drop, Closed::Reset] {
        let kernel = node().with_pools(closed);
        for edge in EDGE {
            assert_eq!(kernel.lookup(at(edge, 22)), Lookup::Nobody, "{closed:?}");
            assert_eq!(kernel.lookup(at(edge, 1500)), Lookup::Listener, "{closed:?}");
            assert_eq!(kernel.lookup_protocol(UDP, at(edge, 53)), Lookup::Nobody, "{closed:?}");
        }
        assert_eq!(kernel.lookup(at("192.0.2.1", 22)), Lookup::Ordinary, "the host's own SSH is untouched");
        assert_eq!(kernel.lookup(at("2001:db8:c::1", 22)), Lookup::Ordinary);
    }
}
