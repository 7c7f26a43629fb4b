//! Rates of sources and of applications, by the kernel program: who goes on and who does not. Needs root and BPF.
//!
//! Deliberately not here: how a share is found (`spectrum_common::fair`, by itself).

use std::{fs, time::Duration};

use nix::time::{ClockId, clock_gettime};
use spectrum_common::{Reason, fair::Limits, layout::Policy, sketch};
use spectrum_tests::{
    Frame, Kernel,
    frame::{ACK, ETHER_QINQ, ETHER_VLAN, FIN, RST, UDP},
    kernel::{Action, App, EDGE, in_own_network},
    wait,
};

/// Another address of the default source's network.
const NEIGHBOUR: [&str; 2] = ["192.0.2.8", "2001:db8:c:1::7"];
const STRANGER: [&str; 2] = ["203.0.113.9", "2001:db8:d::9"];

fn limits(per_source: u32, total: u32) -> Policy {
    Policy { limits: Limits { per_source, total }, ..Policy::default() }
}

/// So many of one frame; how many of them passed.
fn passed(kernel: &Kernel, frame: &Frame, count: u32) -> u32 {
    let bytes = frame.build();
    (0..count).map(|_| u32::from(kernel.xdp(&bytes) == Action::Pass)).sum()
}

/// What `run` tells of a new kernel, all of it seen within one window: a second and a bit.
fn in_one_window<R>(app: &App, run: impl Fn(&mut Kernel) -> R) -> R {
    for _ in 0..20 {
        let mut kernel = Kernel::node(app);
        let begun = next_window();
        let told = run(&mut kernel);
        if window() == begun {
            return told;
        }
    }
    panic!("this machine does not get it done in a second");
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("read the clock");
    u64::try_from(Duration::from(now).as_nanos()).expect("an uptime")
}

fn window() -> u32 {
    sketch::window(now())
}

/// Waits until a window has just begun.
fn next_window() -> u32 {
    const WINDOW: u64 = 1 << 30;
    wait::pause(Duration::from_nanos(WINDOW - now() % WINDOW) + Duration::from_millis(1));
    window()
}

fn limited(per_source: u32, total: u32) -> App {
    App { policy: limits(per_source, total), ..App::default() }
}

#[test]
fn a_source_has_its_rate_and_another_one_has_its_own() {
    for ((frame, neighbour), stranger) in Frame::both().into_iter().zip(NEIGHBOUR).zip(STRANGER) {
        let told = in_one_window(&limited(10, 0), |kernel| {
            let first = passed(kernel, &frame, 50);
            let other_port = passed(kernel, &Frame { source_port: 9, ..frame.clone() }, 50);
            let neighbour = passed(kernel, &frame.clone().from(neighbour), 50);
            let stranger = passed(kernel, &frame.clone().from(stranger), 5);
            ([first, other_port, neighbour, stranger], kernel.app_counter(1, Reason::SourceRate))
        });
        assert_eq!(told, ([10, 0, 10, 5], 40 + 50 + 40));
    }
}

#[test]
fn the_last_64_bits_of_an_ipv6_address_make_no_other_source() {
    let frame = Frame::tcp_syn_v6();
    let told = in_one_window(&limited(10, 0), |kernel| {
        ["2001:db8:c::1", "2001:db8:c::ffff:ffff:ffff:ffff"].map(|from| passed(kernel, &frame.clone().from(from), 6))
    });
    assert_eq!(told, [6, 4]);
}

#[test]
fn whatever_stands_around_it() {
    for frame in Frame::both() {
        let told = in_one_window(&limited(10, 0), |kernel| {
            let tagged = |vlans: Vec<u16>| Frame { vlans, ipv4_options: 10, ..frame.clone() };
            [vec![ETHER_VLAN], vec![ETHER_QINQ, ETHER_VLAN]].map(|vlans| passed(kernel, &tagged(vlans), 6))
        });
        assert_eq!(told, [6, 4], "the same source");
    }
}

#[test]
fn the_next_window_is_a_new_one() {
    let told = in_one_window(&limited(10, 0), |kernel| passed(kernel, &Frame::tcp_syn(), 50));
    assert_eq!(told, 10);
    let kernel = Kernel::node(&limited(10, 0));
    let frame = Frame::tcp_syn();
    passed(&kernel, &frame, 50);
    next_window();
    assert!(passed(&kernel, &frame, 10) == 10);
}

#[test]
fn open_connections_have_no_rate() {
    let kernel = Kernel::node(&limited(1, 1));
    for flags in [ACK, RST, RST | ACK, FIN | ACK] {
        for frame in Frame::both() {
            assert_eq!(passed(&kernel, &Frame { tcp_flags: flags, ..frame }, 20), 20);
        }
    }
}

#[test]
fn datagrams_have_one() {
    for frame in Frame::both() {
        let told = in_one_window(&App { protocol: UDP, ..limited(10, 0) }, |kernel| {
            passed(kernel, &Frame { protocol: UDP, ..frame.clone() }, 50)
        });
        assert_eq!(told, 10);
    }
}

#[test]
fn what_an_allow_rule_names_has_none() {
    let told = in_one_window(&App { ip_firewall: true, ..limited(1, 1) }, |kernel| {
        kernel.allow("192.0.2.0/24");
        (passed(kernel, &Frame::tcp_syn(), 50), passed(kernel, &Frame::tcp_syn_v6(), 50))
    });
    assert_eq!(told, (50, 1), "nobody speaks of the second one");
}

#[test]
fn one_that_takes_all_does_not_starve_the_others() {
    let (flooder, polite, late) = in_one_window(&limited(0, 100), |kernel| {
        let flooder = (passed(kernel, &Frame::tcp_syn(), 500), kernel.app_counter(1, Reason::SourceRate));
        // Twelve others, each in a network of its own.
        let polite = |host: u32| passed(kernel, &Frame::tcp_syn().from(&format!("198.18.{host}.1")), 2);
        let polite: Vec<_> = (1..=12).map(polite).collect();
        let late = Frame::tcp_syn().from("198.18.99.1").build();
        (flooder, polite, [kernel.verdict(&late), kernel.verdict(&late)])
    });
    assert_eq!(flooder, (100, 400), "it had its share, which is all");
    assert_eq!(polite, [2; 12]);
    assert_eq!(late, [Reason::Steered, Reason::AppRate], "the last of a quarter more, then nothing is left");
}

#[test]
fn an_application_has_its_own_rate() {
    let told = in_one_window(&limited(10, 0), |kernel| {
        kernel.steer(&App { number: 2, ports: 80..=80, ..limited(10, 0) });
        kernel.steer(&App { number: 3, ports: 81..=81, ..App::default() });
        [443, 80, 81].map(|port| passed(kernel, &Frame::tcp_syn().to(EDGE[0], port), 50))
    });
    assert_eq!(told, [10, 10, 50]);
}

#[test]
fn who_is_over_it_gets_no_cookie() {
    in_own_network(|| {
        fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").expect("write tcp_syncookies");
        for frame in Frame::both() {
            let bytes = frame.build();
            let reasons = in_one_window(&limited(10, 0), |kernel| {
                kernel.listen();
                kernel.attach_steering();
                (0..20).map(|_| kernel.verdict(&bytes)).collect::<Vec<_>>()
            });
            assert!(reasons.iter().take(10).all(|reason| *reason == Reason::SynCookie), "{reasons:?}");
            assert!(reasons.iter().skip(10).all(|reason| *reason == Reason::SourceRate), "{reasons:?}");
        }
    });
}
