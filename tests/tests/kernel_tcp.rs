//! What no client sends, and what belongs to no connection: TCP segments that XDP drops. Needs root and BPF.
#![allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test, as it should")]

use std::{
    net::{TcpListener, TcpStream},
    thread,
};

use spectrum_common::Reason;
use spectrum_tests::{
    Frame, Kernel,
    frame::{ACK, ETHERNET, FIN, IPV4, RST, SYN, UDP},
    kernel::{Action, App, with_listener},
};

const PUSH: u8 = 8;
const URGENT: u8 = 32;

#[test]
fn only_flags_that_go_together_pass() {
    let kernel = Kernel::node(&App::default());
    // Every combination of FIN, SYN, RST and ACK, with and without what does not matter.
    for bits in 0..16_u8 {
        let flags = bits & 7 | (bits & 8) << 1;
        let legal = [SYN, SYN | ACK, ACK, ACK | FIN, RST, RST | ACK].contains(&flags);
        let expected = if legal { Reason::Steered } else { Reason::IllegalFlags };
        for beside in [0, PUSH, URGENT, PUSH | URGENT, 0xc0] {
            for frame in Frame::both() {
                let frame = Frame { tcp_flags: flags | beside, ..frame };
                assert_eq!(kernel.verdict(&frame.build()), expected, "flags {:#x}", flags | beside);
            }
        }
    }
    assert!(kernel.app_counter(1, Reason::IllegalFlags) > 0, "counted for the application");
}

/// The ports of a segment can be read, its flags cannot: the kernel judges.
#[test]
fn flags_that_cannot_be_read_are_not_judged() {
    let kernel = Kernel::node(&App::default());
    let bytes = Frame { truncate_at: Some(ETHERNET + IPV4 + 8), tcp_flags: 0, ..Frame::tcp_syn() }.build();
    assert_eq!(kernel.verdict(&bytes), Reason::Steered);
}

#[test]
fn a_source_port_of_zero_and_the_applications_own_address_are_forged() {
    let mut kernel = Kernel::node(&App::default());
    kernel.steer(&App { protocol: UDP, ..App::default() });
    for frame in [Frame::both().to_vec(), vec![Frame { protocol: UDP, ..Frame::tcp_syn() }]].concat() {
        let zero = Frame { source_port: 0, ..frame.clone() };
        assert_eq!(kernel.verdict(&zero.build()), Reason::PortZero);
        let land = Frame { source: frame.destination, source_port: frame.destination_port, ..frame.clone() };
        assert_eq!(kernel.verdict(&land.build()), Reason::Land);
        // The host may well speak to its own application.
        let own = Frame { source: frame.destination, ..frame };
        assert_eq!(kernel.verdict(&own.build()), Reason::Steered);
    }
}

#[test]
fn what_is_for_nobody_is_not_judged() {
    let kernel = Kernel::node(&App::default());
    let frame = Frame { source_port: 0, tcp_flags: SYN | FIN, ..Frame::tcp_syn() };
    assert_eq!(kernel.verdict(&frame.to("198.51.100.11", 443).build()), Reason::NotOurs);
}

#[test]
fn segments_of_no_connection_are_dropped_only_when_told_so() {
    with_listener("1", App::default(), |kernel| {
        let orphans: Vec<_> = [ACK, ACK | PUSH, RST, RST | ACK, FIN | ACK, SYN | ACK]
            .into_iter()
            .flat_map(|flags| Frame::both().map(|frame| Frame { tcp_flags: flags, ..frame }.build()))
            .collect();
        for orphan in &orphans {
            assert_eq!(kernel.verdict(orphan), Reason::Steered);
        }
        kernel.refuse_orphans();
        for orphan in &orphans {
            assert_eq!(kernel.verdict(orphan), Reason::Orphan);
        }
        for request in Frame::both() {
            assert_eq!(kernel.verdict(&request.build()), Reason::Steered, "a request is no orphan");
        }
    });
}

/// So many of a frame; how many of those that were looked at belong to no connection.
fn looked_at(kernel: &Kernel, frame: &Frame, count: u64) -> u64 {
    let before = kernel.orphans(1);
    let bytes = frame.build();
    for _ in 0..count {
        kernel.xdp(&bytes);
    }
    let after = kernel.orphans(1);
    assert_eq!(after.segments - before.segments, count);
    after.found - before.found
}

#[test]
fn one_of_64_segments_is_looked_at_while_nothing_is_wrong() {
    with_listener("1", App::default(), |kernel| {
        let cpus = thread::available_parallelism().expect("a number of CPUs").get() as u64;
        let looks = 4 * cpus;
        for refused in [false, true] {
            for flags in [ACK, RST, FIN | ACK, SYN | ACK] {
                for frame in Frame::both() {
                    let found = looked_at(kernel, &Frame { tcp_flags: flags, ..frame }, 64 * looks);
                    // Every CPU counts for itself.
                    assert!((looks - cpus..=looks + cpus).contains(&found), "{found} of {looks}, flags {flags:#x}");
                }
            }
            assert_eq!(kernel.counter(Reason::Orphan) > 0, refused, "looked at, and dropped only when told so");
            kernel.refuse_orphans();
        }
        let segments = kernel.orphans(1).segments;
        kernel.xdp(&Frame::tcp_syn().build());
        assert_eq!(kernel.orphans(1).segments, segments, "a request is none");
    });
}

/// An open connection of this host, and a node that has its port by now.
struct Open {
    _ends: (TcpListener, TcpStream),
    kernel: Kernel,
    /// A SYN of its client.
    frame: Frame,
}

fn open(local: &str) -> Open {
    let listener = TcpListener::bind(local).expect("listen");
    let edge = listener.local_addr().expect("an address");
    let client = TcpStream::connect(edge).expect("connect");
    let own = client.local_addr().expect("an address");
    let mut kernel = Kernel::load();
    kernel.steer(&App { address: edge.ip().to_string(), ports: edge.port()..=edge.port(), ..App::default() });
    kernel.listen();
    kernel.attach_steering();
    let frame = Frame { source: own.ip(), source_port: own.port(), ..Frame::tcp_syn() };
    Open { _ends: (listener, client), kernel, frame: frame.to(&edge.ip().to_string(), edge.port()) }
}

#[test]
fn no_segment_of_an_open_connection_is_taken_for_an_orphan() {
    let Open { kernel, frame, _ends } = open("127.0.0.1:0");
    assert_eq!(looked_at(&kernel, &Frame { tcp_flags: ACK, ..frame }, 1000), 0);
}

#[test]
fn an_open_connection_always_passes() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let Open { mut kernel, frame, _ends } = open(local);
        kernel.refuse_orphans();
        for flags in [ACK, ACK | PUSH, FIN | ACK, RST] {
            assert_eq!(kernel.verdict(&Frame { tcp_flags: flags, ..frame.clone() }.build()), Reason::Steered);
        }
        let other = Frame { source_port: frame.source_port ^ 1, tcp_flags: ACK, ..frame };
        assert_eq!(kernel.verdict(&other.build()), Reason::Orphan);
    }
}

#[test]
fn an_acknowledged_cookie_passes_and_a_guessed_one_does_not() {
    with_listener("2", App::default(), |kernel| {
        kernel.refuse_orphans();
        for (request, tcp) in Frame::both().into_iter().zip([ETHERNET + IPV4, ETHERNET + 40]) {
            let (action, answer) = kernel.xdp_making(&request.build());
            assert_eq!(action, Action::Answer);
            let cookie = u32::from_be_bytes(answer[tcp + 4..tcp + 8].try_into().expect("four bytes"));
            let acknowledge = |acknowledges| Frame { tcp_flags: ACK, sequence: 2, acknowledges, ..request.clone() };
            let right = acknowledge(cookie.wrapping_add(1));
            assert_eq!(kernel.verdict(&right.build()), Reason::Steered);
            let with_bytes = Frame { payload: b"hello".to_vec(), tcp_flags: ACK | PUSH, ..right.clone() };
            assert_eq!(kernel.verdict(&with_bytes.build()), Reason::Steered);
            assert_eq!(kernel.verdict(&acknowledge(cookie).build()), Reason::Orphan);
            let elsewhere = Frame { source_port: 40_001, ..right };
            assert_eq!(kernel.verdict(&elsewhere.build()), Reason::Orphan);
        }
    });
}

#[test]
fn nothing_is_an_orphan_where_nobody_listens() {
    let mut kernel = Kernel::node(&App::default());
    kernel.refuse_orphans();
    let frame = Frame { tcp_flags: ACK, ..Frame::tcp_syn() };
    assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
}
