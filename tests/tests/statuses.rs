//! How connections end, as the event log tells it: every status that a network can be made to cause.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{CLIENT, config::Config},
};

const EVENTS: &str = "[events]\nfile = \"/run/events.jsonl\"\n";

const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:9464\"\n";

/// One application whose events are written, in front of `origin`.
fn before(origin: &str) -> Config {
    config().app("tcp/443").origin(origin).extension("connect_timeout", "\"1500ms\"").raw(EVENTS)
}

fn events(world: &World) -> Vec<Value> {
    let text = world.edge().namespace().run(|| std::fs::read_to_string("/run/events.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The event that ended a connection: what, the product's status, this project's reason.
fn await_end(world: &World) -> (String, u64, String) {
    let end = wait::eventually("an end is written", || events(world).into_iter().find(|event| event["Status"] != 0));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&end["Event"]), end["Status"].as_u64().unwrap(), text(&end["extensions"]["reason"]))
}

fn is(end: &(String, u64, String), event: &str, status: u64, reason: &str) {
    assert_eq!((&*end.0, end.1, &*end.2), (event, status, reason));
}

/// What the origin's host answers to a dial.
fn verdict(world: &World, verdict: &str) {
    let family = if verdict.contains("icmpv6") { "ip6" } else { "ip" };
    let table = format!(
        "table {family} verdict {{ chain c {{ type filter hook input priority 0; tcp dport 7000 {verdict}; }}; }}"
    );
    world.origin().namespace().stdout("nft", &[&table]);
}

#[test]
fn an_origin_that_does_not_accept_is_told_by_how_it_does_not() {
    for (origin, nft, status, reason) in [
        ("203.0.113.2:7000", "reject with tcp reset", 521, "origin_refused"),
        ("203.0.113.2:7000", "drop", 522, "origin_timeout"),
        ("203.0.113.2:7000", "reject with icmp type host-unreachable", 523, "origin_unreachable"),
        ("[2001:db8:f::2]:7000", "reject with icmpv6 type admin-prohibited", 523, "origin_unreachable"),
        ("203.0.113.2:7000", "reject with icmp type prot-unreachable", 520, "origin_error"),
    ] {
        let world = World::new();
        verdict(&world, nft);
        // An application may be silent for less than its origin takes to answer: that clock does not run yet.
        let edge = world.edge().run(before(origin).extension("idle_timeout", "\"500ms\""));
        assert!(world.client().try_ask(None, edge.at(443), b"?").is_err(), "{nft}: a reset");
        is(&await_end(&world), "originError", status, reason);
    }
}

#[test]
fn what_fails_here_is_told_as_that() {
    let world = World::new();
    world.edge().namespace().ip(&["addr add 203.0.113.9/24 dev eth1"]);
    let mut edge = world.edge().run(before("203.0.113.2:7000").node("source_addresses", "[\"203.0.113.9\"]"));
    world.edge().namespace().ip(&["addr del 203.0.113.9/24 dev eth1"]);
    assert!(world.client().try_ask(None, edge.at(443), b"?").is_err());
    is(&await_end(&world), "originError", 524, "dial_failed_here");
    edge.process().await_line("no address of this host any more");
}

#[test]
fn one_of_two_source_addresses_that_goes_away_costs_nobody_a_connection() {
    let world = World::new();
    let origin = world.origin().echo();
    world.edge().namespace().ip(&["addr add 203.0.113.9/24 dev eth1"]);
    let node = before(&origin.addr().to_string()).node("source_addresses", "[\"203.0.113.1\", \"203.0.113.9\"]");
    let edge = world.edge().run(node);
    world.edge().namespace().ip(&["addr del 203.0.113.9/24 dev eth1"]);
    for _ in 0..8 {
        assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    }
}

#[test]
fn one_too_many_is_filtered_and_told_by_which_limit() {
    for (limit, reason) in
        [("max_connections", "max_connections"), ("max_connections_per_ip", "max_connections_per_ip")]
    {
        let world = World::new();
        let origin = world.origin().echo();
        let edge = world.edge().run(before(&origin.addr().to_string()).extension(limit, "1").raw(METRICS));
        let mut open = world.client().connect_from(CLIENT, edge.at(443)).unwrap();
        open.write_all(b"?").unwrap();
        open.read_exact(&mut [0]).unwrap();
        assert!(world.client().try_ask(Some(CLIENT), edge.at(443), b"?").is_err());
        is(&await_end(&world), "clientFiltered", 999, reason);
        let metrics = world.edge().stdout("curl", &["--silent", "--fail", "http://127.0.0.1:9464/metrics"]);
        let limited = metrics.lines().find(|line| line.starts_with("spectrum_connections_limited_total")).unwrap();
        assert!(limited.ends_with(" 1"), "{limited}");
    }
}

#[test]
fn an_origin_whose_host_goes_away_is_told_as_unreachable_and_not_as_silent() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(before(&origin.addr().to_string()).extension("user_timeout", "\"4s\""));
    let mut client: TcpStream = world.client().connect(edge.at(443)).unwrap();
    client.write_all(b"?").unwrap();
    client.read_exact(&mut [0]).unwrap();
    // Nobody answers for its address any more, as the kernel finds out while it sends again.
    world.origin().namespace().ip(&["link set eth0 arp off", "addr flush dev eth0"]);
    world.edge().namespace().ip(&["neigh flush dev eth1"]);
    client.write_all(b"is anybody there?").unwrap();
    assert!(client.read(&mut [0]).is_err(), "a reset");
    let end = await_end(&world);
    assert_eq!(end.0, "disconnect");
    assert!(end.1 == 446, "{end:?}");
}

#[test]
fn events_of_a_connection_have_times_round_trips_and_bytes() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(before(&origin.addr().to_string()));
    assert_eq!(world.client().ask(edge.at(443), b"twelve bytes"), b"twelve bytes");
    wait::eventually("both are written", || (events(&world).len() == 2).then_some(()));
    let [connect, disconnect] = &events(&world)[..] else { panic!("not two events") };
    for event in [connect, disconnect] {
        for leg in ["ClientTcpRtt", "OriginTcpRtt"] {
            let nanoseconds = event[leg].as_u64().unwrap();
            assert!((1_000..1_000_000_000).contains(&nanoseconds), "{leg}: {event}");
        }
        assert!(event["ConnectTimestamp"].as_str().unwrap().starts_with("20"), "{event}");
    }
    assert_eq!((&connect["Event"], &connect["DisconnectTimestamp"]), (&"connect".into(), &"".into()));
    assert_eq!((&disconnect["ClientBytes"], &disconnect["OriginBytes"]), (&12.into(), &12.into()));
    assert!(disconnect["DisconnectTimestamp"].as_str() >= disconnect["ConnectTimestamp"].as_str());
}
