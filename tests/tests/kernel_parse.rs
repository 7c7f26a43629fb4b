//! What the XDP program reads out of a frame: tags, options, fragments, chains of headers, and what is cut or contradicts
//! itself. Needs root and BPF, nothing else.

use spectrum_common::{Reason, limits};
use spectrum_tests::{
    Frame, Kernel,
    frame::{ETHER_ARP, ETHER_QINQ, ETHER_VLAN, ETHERNET, Extension, Fragment, ICMP, IPV4, IPV6, PORTS, VLAN},
    kernel::{Closed, SOURCE},
};

fn fragment(offset: u16, more: bool) -> [Frame; 2] {
    let part = Fragment { offset, more };
    let payload = vec![0; 64];
    [
        Frame { fragment: Some(part), payload: payload.clone(), ..Frame::tcp_syn() },
        Frame { extensions: vec![Extension::Fragment(part)], payload, ..Frame::tcp_syn_v6() },
    ]
}

#[test]
fn what_is_not_ip_passes() {
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
    let arp = Frame { ether_type: Some(ETHER_ARP), ..Frame::tcp_syn() };
    assert_eq!(kernel.verdict(&arp.build()), Reason::NotIp);
    // A length in place of a type (IEEE 802.3).
    let llc = Frame { ether_type: Some(46), ..Frame::tcp_syn() };
    assert_eq!(kernel.verdict(&llc.build()), Reason::NotIp);
}

#[test]
fn other_protocols_pass_even_to_a_pool_address() {
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
    for frame in Frame::both() {
        for protocol in [ICMP, 2, 47, 50, 58, 59, 132, 255] {
            let frame = Frame { protocol, ..frame.clone() };
            assert_eq!(kernel.verdict(&frame.build()), Reason::OtherProtocol, "protocol {protocol}");
        }
    }
}

#[test]
fn two_vlan_tags_are_looked_through_and_a_third_is_not() {
    let kernel = Kernel::firewalled();
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
    let mut kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let mut kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
    // 15 words are 60 bytes, and only 40 follow.
    let frame = Frame { ihl: Some(15), ..Frame::tcp_syn() };
    assert_eq!(kernel.verdict(&frame.build()), Reason::Truncated);
}

#[test]
fn a_frame_cut_anywhere_passes_and_is_counted_once() {
    let mut kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let mut kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let kernel = Kernel::firewalled();
    let [_, atomic] = fragment(0, false); // RFC 6946
    assert_eq!(kernel.verdict(&atomic.build()), Reason::Steered);
}

#[test]
fn a_later_fragment_passes_without_being_taken_for_a_port() {
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
    for more in [true, false] {
        for frame in fragment(3, more).into_iter().chain(fragment(0x1fff, more)) {
            assert_eq!(kernel.verdict(&frame.build()), Reason::LaterFragment);
        }
    }
}

#[test]
fn a_later_fragment_to_the_hosts_own_address_is_nobodys() {
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
    for (frame, host) in fragment(100, false).into_iter().zip(["192.0.2.1", "2001:db8:c::1"]) {
        assert_eq!(kernel.verdict(&frame.to(host, 443).build()), Reason::NotOurs);
    }
}

#[test]
fn a_later_fragment_may_be_shorter_than_ports() {
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
    for frame in fragment(8, false) {
        let frame = Frame { payload: vec![0; 1], ..frame };
        assert_eq!(kernel.verdict(&frame.build()), Reason::LaterFragment);
    }
}

#[test]
fn as_many_extension_headers_as_the_limit_are_followed() {
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
    let extensions = vec![Extension::HopByHop; limits::IPV6_EXTENSIONS];
    let frame = Frame { extensions, protocol: NO_NEXT_HEADER, ..Frame::tcp_syn_v6() };
    assert_eq!(kernel.verdict(&frame.build()), Reason::OtherProtocol);
}
