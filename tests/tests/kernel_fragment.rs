//! Fragments towards applications and pools, by the kernel program. Needs root and BPF.
#![allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test, as it should")]

use spectrum_common::Reason;
use spectrum_tests::{
    Frame, Kernel,
    frame::{ACK, ETHER_VLAN, ETHERNET, Extension, Fragment, IPV4, IPV6, TCP, UDP},
    kernel::{App, Closed, EDGE, POOL},
};

const HOST: [&str; 2] = ["192.0.2.1", "2001:db8:c::1"];

/// Port 443 of the pools' address is an application's over each transport.
fn node(no_fragments: bool) -> Kernel {
    let mut kernel = Kernel::load();
    for (address, pool) in EDGE.into_iter().zip(POOL) {
        kernel.steer(&App { address: address.into(), ..App::default() });
        kernel.steer(&App { number: 2, protocol: UDP, address: address.into(), no_fragments, ..App::default() });
        if no_fragments { kernel.pool_without_fragments(pool) } else { kernel.pool(pool, Closed::Drop) }
    }
    kernel
}

fn fragments(protocol: u8, offset: u16, more: bool) -> Vec<Frame> {
    let part = Fragment { offset, more };
    let base = |frame: Frame| Frame { protocol, tcp_flags: ACK, payload: vec![7; 64], ..frame };
    let v4 = Frame { fragment: Some(part), ..base(Frame::tcp_syn()) };
    let v6 = Frame { extensions: vec![Extension::Fragment(part)], ..base(Frame::tcp_syn_v6()) };
    let tagged = [&v4, &v6].map(|frame| Frame { vlans: vec![ETHER_VLAN], ..frame.clone() });
    [v4, v6].into_iter().chain(tagged).collect()
}

#[test]
fn fragments_of_datagrams_are_dropped_for_applications_and_pools() {
    let kernel = node(true);
    for frame in fragments(UDP, 0, true) {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Fragment);
        let closed = Frame { destination_port: 444, ..frame };
        assert_eq!(kernel.verdict(&closed.build()), Reason::ClosedPort, "by its port, which nobody has");
    }
    assert_eq!(kernel.app_counter(2, Reason::Fragment), 4, "the first one says whose it is");
    for (offset, more) in [(1, true), (185, true), (185, false), (0x1fff, false)] {
        for frame in fragments(UDP, offset, more) {
            assert_eq!(kernel.verdict(&frame.build()), Reason::Fragment, "offset {offset}");
        }
    }
}

#[test]
fn unless_the_node_wants_them() {
    let kernel = node(false);
    for frame in fragments(UDP, 0, true) {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
    }
    for frame in fragments(UDP, 1, false) {
        assert_eq!(kernel.verdict(&frame.build()), Reason::LaterFragment);
    }
}

/// I3: which of them is for an application nobody can say.
#[test]
fn later_fragments_to_the_hosts_own_address_are_never_touched() {
    let mut kernel = node(true);
    for host in HOST {
        kernel.steer(&App { protocol: UDP, address: host.into(), no_fragments: true, ..App::default() });
        kernel.steer(&App { address: host.into(), ports: 1..=u16::MAX, ..App::default() });
    }
    for protocol in [TCP, UDP] {
        for offset in [1, 2, 3, 185] {
            for frame in fragments(protocol, offset, false) {
                let host = HOST[usize::from(frame.source.is_ipv6())];
                assert_eq!(kernel.verdict(&frame.to(host, 443).build()), Reason::NotOurs);
            }
        }
    }
    for frame in fragments(UDP, 0, true) {
        let host = HOST[usize::from(frame.source.is_ipv6())];
        assert_eq!(kernel.verdict(&frame.clone().to(host, 443).build()), Reason::Fragment, "the first one has ports");
        assert_eq!(kernel.verdict(&frame.to(host, 53).build()), Reason::NotOurs);
    }
}

#[test]
fn a_whole_datagram_is_no_fragment() {
    let kernel = node(true);
    for frame in Frame::both() {
        assert_eq!(kernel.verdict(&Frame { protocol: UDP, ..frame }.build()), Reason::Steered);
    }
    // RFC 6946: an IPv6 packet in one fragment.
    for frame in fragments(UDP, 0, false) {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
    }
}

#[test]
fn a_fragment_that_would_be_put_over_a_tcp_header_is_dropped() {
    let kernel = node(true);
    for (offset, reason) in [(1, Reason::Fragment), (2, Reason::Fragment), (3, Reason::LaterFragment)] {
        for more in [true, false] {
            for frame in fragments(TCP, offset, more) {
                assert_eq!(kernel.verdict(&frame.build()), reason, "offset {offset}");
            }
        }
    }
}

/// Shortens the IP packet to so many bytes of TCP, and pads the frame as an interface would.
fn shortened(frame: &Frame, tcp: usize) -> Vec<u8> {
    let mut bytes = frame.build();
    let front = ETHERNET + frame.vlans.len() * 4;
    let (at, length) = if frame.source.is_ipv4() { (2, IPV4 + tcp) } else { (4, 8 + tcp) };
    let length = u16::try_from(length).expect("it is short").to_be_bytes();
    bytes[front + at..front + at + 2].copy_from_slice(&length);
    bytes.truncate(front + if frame.source.is_ipv4() { IPV4 } else { IPV6 + 8 } + tcp);
    bytes.resize(bytes.len().max(front + IPV6 + 8 + 60), 0);
    bytes
}

#[test]
fn a_first_fragment_without_the_whole_tcp_header_is_dropped() {
    let kernel = node(true);
    for frame in fragments(TCP, 0, true) {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
        for tcp in [8, 16] {
            assert_eq!(kernel.verdict(&shortened(&frame, tcp)), Reason::Fragment, "{tcp} bytes: {frame:?}");
        }
        assert_eq!(kernel.verdict(&shortened(&frame, 24)), Reason::Steered);
        let options = Frame { tcp_options: vec![1; 40], ..frame.clone() };
        assert_eq!(kernel.verdict(&shortened(&options, 56)), Reason::Fragment, "the last options are elsewhere");
        assert_eq!(kernel.verdict(&shortened(&options, 60)), Reason::Steered);
        let closed = Frame { destination_port: 444, ..frame };
        assert_eq!(kernel.verdict(&shortened(&closed, 8)), Reason::ClosedPort);
    }
}
