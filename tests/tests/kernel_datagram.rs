//! Datagrams that no client sends: from reflectors, and answers. By the kernel program; needs root and BPF.
//!
//! Deliberately not here: every kind of answer (`spectrum_common::answers`, by itself).

use spectrum_common::{
    Reason,
    fair::Limits,
    layout::{Policy, udp_filters},
};
use spectrum_tests::{
    Frame, Kernel,
    frame::{ETHER_QINQ, ETHER_VLAN, Extension, UDP},
    kernel::App,
};

const BOTH: u32 = udp_filters::REFLECTION | udp_filters::SIGNATURES;

fn node(udp_filters: u32) -> Kernel {
    let policy = Policy { udp_filters, ..Policy::default() };
    Kernel::node(&App { protocol: UDP, policy, ..App::default() })
}

fn both(source_port: u16, payload: &[u8]) -> Vec<Frame> {
    let plain = Frame::both().map(|frame| Frame { protocol: UDP, source_port, payload: payload.to_vec(), ..frame });
    let tagged = plain.clone().map(|frame| Frame { vlans: vec![ETHER_QINQ, ETHER_VLAN], ..frame });
    plain.into_iter().chain(tagged).collect()
}

#[test]
fn what_comes_from_a_reflectors_port_is_dropped() {
    let kernel = node(BOTH);
    for port in [17, 19, 53, 123, 161, 389, 1900, 5353, 11211, 27005, 27050, 37810] {
        for frame in both(port, b"payload") {
            assert_eq!(kernel.verdict(&frame.build()), Reason::Reflection, "port {port}");
        }
    }
    for port in [1, 54, 122, 443, 1024, 27004, 27051, 40000, 65535] {
        for frame in both(port, b"payload") {
            assert_eq!(kernel.verdict(&frame.build()), Reason::Steered, "port {port}");
        }
    }
    assert_eq!(kernel.app_counter(1, Reason::Reflection), 12 * 4);
}

#[test]
fn every_port_is_judged_as_the_list_says() {
    let kernel = node(udp_filters::REFLECTION);
    for port in 1..=u16::MAX {
        kernel.xdp(&Frame { protocol: UDP, source_port: port, ..Frame::tcp_syn() }.build());
    }
    let listed = (1..=u16::MAX).filter(|port| spectrum_common::answers::is_reflector(*port)).count() as u64;
    assert_eq!(kernel.counter(Reason::Reflection), listed);
    assert_eq!(kernel.counter(Reason::Steered), 65_535 - listed);
}

#[test]
fn peers_of_one_protocol_may_talk_from_its_port_to_its_port() {
    let mut kernel = Kernel::load();
    let policy = Policy { udp_filters: BOTH, ..Policy::default() };
    kernel.steer(&App { protocol: UDP, ports: 123..=123, policy, ..App::default() });
    let ntp = |mode: u8| {
        let payload = [&[mode], &[0; 47][..]].concat();
        Frame { protocol: UDP, source_port: 123, destination_port: 123, payload, ..Frame::tcp_syn() }.build()
    };
    assert_eq!(kernel.verdict(&ntp(0x23)), Reason::Steered, "a client's question");
    assert_eq!(kernel.verdict(&ntp(0x17)), Reason::Signature, "monlist");
}

#[test]
fn an_answer_that_nobody_asked_for_is_dropped_whatever_its_port() {
    let kernel = node(BOTH);
    for frame in both(50_000, b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\n") {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Signature);
        let deep = Frame { ipv4_options: 10, extensions: vec![Extension::Destination(0)], ..frame };
        assert_eq!(kernel.verdict(&deep.build()), Reason::Signature);
    }
}

#[test]
fn each_filter_is_its_own() {
    let dns = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 40, 0, 0, 0, 0];
    for (filters, port_53, ssdp) in [
        (BOTH, Reason::Reflection, Reason::Signature),
        (udp_filters::REFLECTION, Reason::Reflection, Reason::Steered),
        (udp_filters::SIGNATURES, Reason::Signature, Reason::Signature),
        (0, Reason::Steered, Reason::Steered),
    ] {
        let kernel = node(filters);
        for frame in both(53, &dns) {
            assert_eq!(kernel.verdict(&frame.build()), port_53, "filters {filters}");
        }
        for frame in both(50_000, b"HTTP/1.1 200 OK") {
            assert_eq!(kernel.verdict(&frame.build()), ssdp, "filters {filters}");
        }
    }
}

/// A payload is read as far as there is one, and never beyond.
#[test]
fn short_payloads_pass() {
    let kernel = node(BOTH);
    for length in 0..8 {
        for frame in both(50_000, b"HTTP/1.1".get(..length).expect("eight bytes")) {
            assert_eq!(kernel.verdict(&frame.build()), Reason::Steered, "{length} bytes");
        }
    }
}

#[test]
fn what_is_dropped_takes_nothing_of_a_sources_rate() {
    let mut kernel = Kernel::load();
    let policy = Policy { udp_filters: BOTH, limits: Limits { per_source: 1, total: 0 } };
    kernel.steer(&App { protocol: UDP, policy, ..App::default() });
    let reflected = Frame { protocol: UDP, source_port: 53, ..Frame::tcp_syn() };
    for _ in 0..20 {
        assert_eq!(kernel.verdict(&reflected.build()), Reason::Reflection);
    }
    assert_eq!(kernel.verdict(&Frame { source_port: 50_000, ..reflected }.build()), Reason::Steered);
}
