//! Rates and fragments with real clients and a real generator: who is held back, and who never notices.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, EDGE_V6, HOST,
        client::Knock,
        trafgen::{self, Flood},
    },
};

/// A counter of the edge's kernel out of `/proc/net/snmp`.
fn kernel_counter(world: &World, section: &str, name: &str) -> u64 {
    let text = world.edge().namespace().run(|| fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(section)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let index = names.split(' ').position(|known| known == name).unwrap();
    values.split(' ').nth(index).unwrap().parse().unwrap()
}

#[test]
fn one_source_floods_within_an_applications_rate_and_fifty_polite_ones_get_in() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()).extension("rate", "\"1000/s\""));
    let polite: Vec<String> = (101..=150).map(|host| format!("addr add 192.0.2.{host}/24 dev eth0")).collect();
    world.client().namespace().ip(&polite.iter().map(String::as_str).collect::<Vec<_>>());

    let flood = Flood::of(&world, &trafgen::syns_from("198.18.5.5".parse().unwrap(), 443), 20_000);
    wait::eventually("the flood is over the rate", || (edge.counter("source_rate") > 2000).then_some(()));
    let gets_in = |source: &IpAddr| world.client().knock_from(*source, edge.at(443)) == Knock::Connected;
    let polite = (101..=150).map(|host| format!("192.0.2.{host}").parse().unwrap());
    let late: Vec<IpAddr> = polite.filter(|source| !gets_in(source)).collect();
    assert!(late.len() <= 5, "at the first knock {late:?} did not get in");
    for source in late {
        assert!(wait::within(Duration::from_secs(3), || gets_in(&source).then_some(())).is_some(), "{source}");
    }
    let held = edge.counter("source_rate") + edge.counter("app_rate");
    wait::eventually("the flood goes on", || {
        (edge.counter("source_rate") + edge.counter("app_rate") > held).then_some(())
    });
    assert!(edge.status()["daemon"]["protection"].is_null(), "what a rate holds back needs no cookies");
    drop(flood);
}

#[test]
fn a_source_that_asks_too_often_is_refused_until_the_next_second_and_its_connections_go_on() {
    let world = World::new();
    let origin = world.origin().echo();
    let app =
        config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin.addr()).extension("rate_per_source", "\"5/s\"");
    let edge = world.edge().run(app);
    for to in [edge.at(443), edge.at_v6(443)] {
        let first = world.client().connect(to).unwrap();
        let refused = wait::eventually("one is refused", || {
            let knocks: Vec<_> = (0..10).map(|_| world.client().knock(to)).collect();
            knocks.contains(&Knock::Silence).then_some(knocks)
        });
        assert!(refused.contains(&Knock::Connected), "not all of them: {refused:?}");
        assert!(edge.counter("source_rate") > 0);
        // The kernel asks again after a second: by then it is another window.
        assert_eq!(world.client().ask(to, b"later"), b"later");
        drop(first);
    }
    let why = world.edge().spectrum_ok(&["why", &CLIENT.to_string(), "--to", &edge.at(443).to_string()]);
    assert!(why.contains("steered"), "a question takes nothing of a rate: {why}");
}

#[test]
fn fragments_of_datagrams_reach_the_host_and_not_the_pool() {
    const LARGE: [u8; 4000] = [7; 4000];
    let world = World::new();
    let origin = world.origin().echo();
    let app = || config().app("tcp/443").origin(origin.addr());
    let mut edge = world.edge().run(app());
    let send = |to: SocketAddr| {
        world.client().namespace().run(move || {
            let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            assert_eq!(UdpSocket::bind(from).unwrap().send_to(&LARGE, to).unwrap(), LARGE.len());
        });
    };
    // Three packets: one with ports, and two without.
    send(edge.at(53));
    send(edge.at_v6(53));
    wait::eventually("fragments are dropped", || (edge.counter("fragment") == 4).then_some(()));
    assert_eq!(edge.counter("closed_port"), 2);
    assert_eq!(kernel_counter(&world, "Ip", "ReasmReqds"), 0, "the kernel never hears of them");

    let host = SocketAddr::new(HOST, 5353);
    let socket = world.edge().namespace().run(move || UdpSocket::bind(host).unwrap());
    socket.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    send(host);
    let mut received = [0; 5000];
    assert_eq!(socket.recv(&mut received).unwrap(), LARGE.len(), "the host's own traffic is its own");

    let before = kernel_counter(&world, "Ip", "ReasmReqds");
    edge.reload(app().node("udp_fragments", "\"pass\""));
    send(edge.at(53));
    wait::eventually("fragments pass", || (edge.counter("later_fragment") == 2).then_some(()));
    assert_eq!(edge.counter("fragment"), 4);
    wait::eventually("the kernel hears of them", || {
        (kernel_counter(&world, "Ip", "ReasmReqds") == before + 2).then_some(())
    });
}
