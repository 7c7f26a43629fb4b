//! SYN cookies out of XDP: when they are given, and that the answer is a right one. Needs root and BPF.
//!
//! Deliberately not here: that the kernel takes the acknowledgement (`flood.rs`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::fs;

use spectrum_common::Reason;
use spectrum_tests::{
    Frame, Kernel,
    frame::{ACK, ETHER_QINQ, ETHER_VLAN, ETHERNET, Extension, FIN, IPV4, IPV6, RST, SYN, TCP, VLAN, checksum},
    kernel::{Action, App, in_own_network, with_listener},
};

/// An MSS of 1400, SACK, timestamps, no operation, a window scale of 7: what Linux sends.
const OPTIONS: [u8; 20] = [2, 4, 5, 120, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

fn both(change: impl Fn(Frame) -> Frame) -> [Frame; 2] {
    Frame::both().map(|frame| change(Frame { tcp_options: OPTIONS.to_vec(), ..frame }))
}

/// Asserts that `answer` is a SYN-ACK to `frame`, byte for byte but for the cookie; gives the cookie.
fn is_syn_ack(frame: &Frame, answer: &[u8]) -> u32 {
    let asked = frame.build();
    let front = ETHERNET + frame.vlans.len() * VLAN;
    assert_eq!(answer[..6], asked[6..12], "to whom it came from");
    assert_eq!(answer[6..12], asked[..6]);
    assert_eq!(answer[12..front], asked[12..front], "tags and type stay");
    let packet = &answer[front..];
    let (ip, addresses) = if frame.source.is_ipv4() { (IPV4, 12..20) } else { (IPV6, 8..40) };
    let (source, destination) = asked[front..][addresses.clone()].split_at(addresses.len() / 2);
    assert_eq!(packet[addresses.clone()], [destination, source].concat());
    if frame.source.is_ipv4() {
        assert_eq!(packet[0], 0x45, "without options");
        assert_eq!(packet[2..4], [0, 44]);
        assert_eq!(checksum(&packet[..IPV4]), 0);
        assert_eq!(packet[8..10], [64, TCP]);
    } else {
        assert_eq!(packet[..8], [0x60, 0, 0, 0, 0, 24, TCP, 64]);
    }
    let tcp = &packet[ip..];
    assert_eq!(tcp.len(), 24);
    let ports = [frame.destination_port.to_be_bytes(), frame.source_port.to_be_bytes()].concat();
    assert_eq!(tcp[..4], ports);
    assert_eq!(tcp[8..12], [0, 0, 0, 2], "acknowledges sequence number 1");
    assert_eq!(tcp[12..14], [6 << 4, SYN | ACK]);
    // Test runs are packets of the loopback interface, whose MTU is 65,536.
    let largest = u16::try_from(65_536 - ip - 20).expect("it fits").to_be_bytes();
    assert_eq!(tcp[20..24], [[2, 4], largest].concat(), "one option: the largest segment");
    let covered = [&packet[addresses], &[0, TCP, 0, 24], tcp].concat();
    assert_eq!(checksum(&covered), 0);
    u32::from_be_bytes(tcp[4..8].try_into().expect("four bytes"))
}

#[test]
fn the_sample_of_an_answered_syn_is_the_syn() {
    with_listener("2", App::default(), |kernel| {
        for frame in both(|frame| frame) {
            let asked = frame.build();
            assert_eq!(kernel.xdp(&asked), Action::Answer);
            let events = kernel.events();
            let [event] = &events[..] else { panic!("one packet, one event: {events:?}") };
            assert_eq!(Reason::from_index(event.reason), Some(Reason::SynCookie));
            assert_eq!(event.bytes[..event.captured as usize], asked);
            assert_eq!((event.length as usize, event.tcp_flags), (asked.len(), u32::from(SYN)));
        }
    });
}

#[test]
fn a_request_is_answered_with_a_cookie() {
    with_listener("2", App::default(), |kernel| {
        for frame in both(|frame| frame) {
            let (action, answer) = kernel.xdp_making(&frame.build());
            assert_eq!(action, Action::Answer);
            let cookie = is_syn_ack(&frame, &answer);
            let (_, again) = kernel.xdp_making(&Frame { source_port: 40_001, ..frame.clone() }.build());
            let other = Frame { source_port: 40_001, ..frame };
            assert_ne!(is_syn_ack(&other, &again), cookie, "a cookie belongs to one client's port");
        }
        assert_eq!(kernel.app_counter(1, Reason::SynCookie), 4);
        assert_eq!(kernel.packets(), 4);
    });
}

#[test]
fn whatever_stands_around_it() {
    with_listener("2", App::default(), |kernel| {
        let tagged = |vlans: Vec<u16>| both(move |frame| Frame { vlans: vlans.clone(), ..frame });
        let mut frames = [tagged(vec![ETHER_VLAN]), tagged(vec![ETHER_QINQ, ETHER_VLAN])].concat();
        frames.extend((0..=10).map(|words| Frame { ipv4_options: words, ..Frame::tcp_syn() }));
        for words in 0..=10 {
            // End of options: the rest is not read.
            frames.extend(Frame::both().map(|frame| Frame { tcp_options: vec![0; words * 4], ..frame }));
        }
        frames.push(Frame { extensions: vec![Extension::Destination(0)], ..Frame::tcp_syn_v6() });
        // A request that carries bytes (TCP fast open): they are asked for again.
        frames.extend(both(|frame| Frame { payload: vec![7; 1000], ..frame }));
        frames.push(Frame {
            vlans: vec![ETHER_QINQ, ETHER_VLAN],
            ipv4_options: 10,
            tcp_options: vec![1; 40],
            ..Frame::tcp_syn()
        });
        for frame in frames {
            let (action, answer) = kernel.xdp_making(&frame.build());
            assert_eq!(action, Action::Answer, "{frame:?}");
            is_syn_ack(&frame, &answer);
        }
    });
}

/// The options of an answer, and the low bits of its timestamp: SACK, and the client's window scale.
fn answered_options(kernel: &Kernel, frame: &Frame) -> (Vec<u8>, u32) {
    let (action, answer) = kernel.xdp_making(&frame.build());
    assert_eq!(action, Action::Answer, "{frame:?}");
    let ip = if frame.source.is_ipv4() { IPV4 } else { IPV6 };
    let packet = &answer[ETHERNET + frame.vlans.len() * VLAN..];
    let tcp = &packet[ip..];
    assert_eq!(tcp.len(), usize::from(tcp[12] >> 4) * 4);
    let addresses = if frame.source.is_ipv4() { 12..20 } else { 8..40 };
    let covered = [&packet[addresses], &[0, TCP, 0, u8::try_from(tcp.len()).unwrap()], tcp].concat();
    assert_eq!(checksum(&covered), 0);
    let mut options = tcp[24..].to_vec();
    let remembered = if options.is_empty() {
        0
    } else {
        let at = u32::from_be_bytes(options[4..8].try_into().unwrap());
        options[4..8].fill(0);
        at & 0x3f
    };
    (options, remembered)
}

#[test]
fn where_timestamps_are_allowed_the_answer_remembers_what_was_offered() {
    const TIMESTAMPS: [u8; 10] = [8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
    let answer = |first: [u8; 2], last: [u8; 4]| [&first[..], &[8, 10, 0, 0, 0, 0, 1, 2, 3, 4], &last].concat();
    let scaled = [1, 3, 3, 9];
    with_listener("2", App::default(), move |kernel| {
        kernel.answer_with_timestamps(9);
        let of = |options: &[&[u8]]| {
            let mut options = options.concat();
            options.resize(options.len().next_multiple_of(4), 1);
            Frame::both().map(|frame| {
                let frame = Frame { tcp_options: options.clone(), ..frame };
                [vec![], vec![ETHER_VLAN]].map(|vlans| Frame { vlans, ..frame.clone() })
            })
        };
        let cases = [
            ("Linux", of(&[&[2, 4, 5, 120, 4, 2], &TIMESTAMPS, &[1, 3, 3, 7]]), (answer([4, 2], scaled), 0x17)),
            (
                "macOS",
                of(&[&[2, 4, 5, 180, 1, 3, 3, 6, 1, 1], &TIMESTAMPS, &[4, 2, 0]]),
                (answer([4, 2], scaled), 0x16),
            ),
            ("no SACK", of(&[&TIMESTAMPS, &[3, 3, 0]]), (answer([1, 1], scaled), 0)),
            ("no scale", of(&[&[4, 2], &TIMESTAMPS]), (answer([4, 2], [1; 4]), 0x1f)),
            ("a scale too large", of(&[&TIMESTAMPS, &[3, 3, 255]]), (answer([1, 1], scaled), 14)),
            ("unknown ones between", of(&[&[254, 5, 9, 9, 9], &TIMESTAMPS]), (answer([1, 1], [1; 4]), 0xf)),
            ("no timestamps", of(&[&[2, 4, 5, 120, 4, 2, 3, 3, 7]]), (vec![], 0)),
            ("none at all", of(&[]), (vec![], 0)),
            ("behind the end of options", of(&[&[0], &TIMESTAMPS]), (vec![], 0)),
            ("cut short", of(&[&[3, 3, 7, 1, 1, 1, 1, 1], &TIMESTAMPS[..4]]), (vec![], 0)),
            ("of no length", of(&[&[254, 0], &TIMESTAMPS]), (vec![], 0)),
            ("longer than there is room", of(&[&TIMESTAMPS, &[254, 40]]), (answer([1, 1], [1; 4]), 0xf)),
            ("a wrong length", of(&[&[3, 4, 7, 7, 8, 4, 1, 1]]), (vec![], 0)),
            ("too many to read", of(&[&[1; 16], &TIMESTAMPS]), (vec![], 0)),
        ];
        for (what, frames, expected) in cases {
            for frame in frames.concat() {
                assert_eq!(answered_options(kernel, &frame), expected, "{what}: {frame:?}");
            }
        }
    });
}

#[test]
fn a_timestamp_is_the_kernels_own_and_never_ahead_of_it() {
    with_listener("2", App::default(), |kernel| {
        kernel.answer_with_timestamps(7);
        let now = || {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
            u32::try_from((now.tv_sec() * 1000 + now.tv_nsec() / 1_000_000) & 0xffff_ffff).unwrap()
        };
        for frame in both(|frame| frame) {
            for _ in 0..1000 {
                let (_, answer) = kernel.xdp_making(&frame.build());
                let ip = if frame.source.is_ipv4() { IPV4 } else { IPV6 };
                let at = u32::from_be_bytes(answer[ETHERNET + ip + 28..][..4].try_into().unwrap());
                let behind = now().wrapping_sub(at);
                assert!(behind < 1000, "{behind} ms behind");
            }
        }
    });
}

#[test]
fn what_is_no_request_goes_to_the_kernel_as_it_came() {
    with_listener("2", App::default(), |kernel| {
        for flags in [ACK, SYN | ACK, RST, RST | ACK, FIN | ACK] {
            for frame in both(|frame| Frame { tcp_flags: flags, ..frame }) {
                let bytes = frame.build();
                assert_eq!(kernel.xdp_making(&bytes), (Action::Pass, bytes), "flags {flags:#x}");
            }
        }
    });
}

/// A header that is cut short, or longer than its packet: nothing is read beyond, nothing answered.
#[test]
fn what_is_cut_short_goes_to_the_kernel_as_it_came() {
    with_listener("2", App::default(), |kernel| {
        for frame in both(|frame| Frame { vlans: vec![ETHER_VLAN], ..frame }) {
            let whole = frame.build().len();
            for length in ETHERNET..whole {
                let bytes = Frame { truncate_at: Some(length), ..frame.clone() }.build();
                let (action, out) = kernel.xdp_making(&bytes);
                assert_eq!((action, out), (Action::Pass, bytes), "{length} bytes");
            }
        }
    });
}

#[test]
fn no_cookies_while_the_kernel_gives_none() {
    for sysctl in ["0", "1"] {
        with_listener(sysctl, App::default(), |kernel| {
            for frame in both(|frame| frame) {
                let bytes = frame.build();
                assert_eq!(kernel.xdp_making(&bytes), (Action::Pass, bytes));
            }
            assert_eq!(kernel.app_counter(1, Reason::Steered), 2);
        });
    }
}

#[test]
fn no_cookies_for_an_application_that_wants_none() {
    with_listener("2", App { syn_cookies: false, ..App::default() }, |kernel| {
        for frame in both(|frame| frame) {
            assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
        }
    });
}

#[test]
fn a_blocked_source_gets_no_cookie() {
    in_own_network(|| {
        fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").expect("write tcp_syncookies");
        let mut kernel = Kernel::load();
        kernel.steer(&App { ip_firewall: true, ..App::default() });
        kernel.block("192.0.2.0/24");
        kernel.listen();
        kernel.attach_steering();
        assert_eq!(kernel.verdict(&Frame::tcp_syn().build()), Reason::Blocked);
    });
}

#[test]
fn no_cookies_where_nobody_listens() {
    in_own_network(|| {
        fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").expect("write tcp_syncookies");
        let mut kernel = Kernel::load();
        kernel.steer(&App::default());
        kernel.attach_steering();
        assert_eq!(kernel.verdict(&Frame::tcp_syn().build()), Reason::Steered);
    });
}
