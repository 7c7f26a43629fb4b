//! Which packets the XDP program tells of, what it says of each, and how many a sample stands for. Needs root and BPF,
//! nothing else.
#![allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test, as it should")]

use std::time::Instant;

use spectrum_common::{
    Reason,
    layout::{CAPTURE, NO_APP},
    limits,
};
use spectrum_tests::{
    Frame, Kernel,
    frame::{self, ACK, ETHER_QINQ, ETHER_VLAN},
    kernel::{Action, Closed, SOURCE_NET},
};

#[test]
fn a_drop_makes_an_event_that_says_who_and_why() {
    let mut kernel = Kernel::firewalled();
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
fn what_is_for_nobody_here_makes_no_event_unless_asked_to_explain() {
    let quiet = Kernel::firewalled();
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
    let kernel = Kernel::firewalled();
    kernel.verdict(&Frame::tcp_syn().build());
    let events = kernel.events();
    let [event] = &events[..] else { panic!("one packet, one event: {events:?}") };
    assert_eq!((Reason::from_index(event.reason), event.app), (Some(Reason::Steered), 1));
    assert_eq!((event.weight, event.drops), (1, 0));
}

#[test]
fn a_sample_holds_the_front_of_the_frame() {
    let mut kernel = Kernel::firewalled();
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
    let kernel = Kernel::firewalled().with_pools(Closed::Drop);
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
    let mut kernel = Kernel::firewalled();
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
