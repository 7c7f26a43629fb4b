//! Whose turn it is among several origins, how many connections there may be, and what they come from.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, SHUNNED,
        fleet::{QUESTION, shares, world_of_servers},
    },
};

const EDGE_443: SocketAddr = SocketAddr::new(EDGE, 443);

#[test]
fn a_client_meets_the_same_origin_and_the_least_busy_one_serves() {
    let world = world_of_servers(7000);
    let origins =
        || config().app("tcp/443").origin("203.0.113.2:7000").origin("203.0.113.3:7000").origin("203.0.113.4:7000");
    let mut edge = world.edge().run(origins().extension("balance", "\"source_hash\""));
    assert_eq!(shares(&world, edge.at(443), 20).len(), 1);
    let other = |source| String::from_utf8(world.client().ask_from(source, EDGE_443, QUESTION)).unwrap();
    assert_eq!(other(SHUNNED), other(SHUNNED));
    assert_eq!(other(CLIENT), other(CLIENT));
    edge.reload(origins().extension("balance", "\"least_connections\""));
    let greeted = || {
        let mut stream = world.client().connect(edge.at(443)).unwrap();
        stream.write_all(QUESTION).unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
        stream
    };
    let open: Vec<_> = (0..6).map(|_| greeted()).collect();
    wait::eventually("each origin has two of them", || {
        let status = edge.status();
        let origins = status["daemon"]["applications"][0]["origins"].as_array().unwrap().clone();
        origins.iter().all(|origin| origin["open"] == 2).then_some(())
    });
    drop(open);
    edge.reload(origins().extension("balance", "\"random\""));
    assert_eq!(shares(&world, edge.at(443), 60).keys().collect::<HashSet<_>>().len(), 3);
}

#[test]
fn limits_on_connections_hold_over_all_workers() {
    let world = World::new();
    let origin = world.origin().echo();
    let limited = |all: u32, each: u32| {
        let app = config().app("tcp/443").origin(origin.addr());
        app.extension("max_connections", &all.to_string()).extension("max_connections_per_ip", &each.to_string())
    };
    let mut edge = world.edge().run(limited(6, 4));
    let served = |source: IpAddr| {
        let mut stream = world.client().connect_from(source, EDGE_443).ok()?;
        stream.write_all(b"?").ok()?;
        stream.read_exact(&mut [0]).ok()?;
        Some(stream)
    };
    let mut mine: Vec<_> = (0..20).filter_map(|_| served(CLIENT)).collect();
    assert_eq!(mine.len(), 4);
    let others: Vec<_> = (0..20).filter_map(|_| served(SHUNNED)).collect();
    assert_eq!(others.len(), 2);
    mine.pop();
    wait::eventually("a place is free again", || served(CLIENT).map(|stream| mine.push(stream)));
    assert_eq!(origin.accepted(), 7, "who is over a limit costs the origin nothing");
    edge.reload(limited(100, 4));
    assert!(served(CLIENT).is_none(), "a reload does not forget who is there");
    assert!(served(SHUNNED).is_some());
}

#[test]
fn when_source_ports_run_out_the_next_address_serves_and_then_it_is_said() {
    let world = World::new();
    let origin = world.origin().echo();
    world.edge().namespace().ip(&["addr add 203.0.113.9/24 dev eth1"]);
    let other = world.origin().echo();
    let app =
        config().node("source_addresses", "[\"203.0.113.1\", \"203.0.113.9\"]").app("tcp/443").origin(origin.addr());
    let app = app.app("tcp/444").origin(other.addr());
    let edge = world.edge().run(app.raw("[events]\nfile = \"/run/events.jsonl\"\n"));
    // Eight ports, and nothing of the host's own in them: a port that somebody listens on is not taken.
    world.edge().namespace().stdout("sysctl", &["-w", "net.ipv4.ip_local_port_range=40000 40007"]);
    let mut open = Vec::new();
    for _ in 0..16 {
        let mut stream = world.client().connect(edge.at(443)).unwrap();
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        open.push(stream);
    }
    let before = edge.cpu_time();
    let begin = Instant::now();
    for _ in 0..200 {
        assert!(world.client().try_ask(None, edge.at(443), b"?").is_err(), "there is no port left");
    }
    let (took, used) = (begin.elapsed(), edge.cpu_time().saturating_sub(before));
    // Ten milliseconds for a client that is turned away are far more than it takes, in a debug build too.
    assert!(used < Duration::from_secs(2), "{used:?} of CPU for 200 in {took:?}");
    wait::eventually("it is told by its name", || {
        let events = world.edge().namespace().run(|| std::fs::read_to_string("/run/events.jsonl")).ok()?;
        events.contains("\"reason\":\"no_source_port\"").then_some(())
    });
    // They are used up for one origin, not for all (`IP_BIND_ADDRESS_NO_PORT`).
    assert_eq!(world.client().ask(edge.at(444), b"hi"), b"hi");
    // Who ends a connection first waits before its port is free (TIME_WAIT): as an operator of short connections, not so long.
    world.edge().namespace().stdout("sysctl", &["-w", "net.ipv4.tcp_tw_reuse=1"]);
    drop(open);
    wait::eventually("ports are free again", || world.client().try_ask(None, edge.at(443), b"?").ok());
}

#[test]
fn connections_come_from_the_ports_that_they_may_have() {
    let world = World::new();
    let (listener, address) = world.origin().listen();
    let app = config().node("source_ports", "\"50000-50003\"").app("tcp/443").origin(address);
    let edge = world.edge().run(app);
    let mut ports = HashSet::new();
    let open: Vec<_> = (0..4)
        .map(|_| {
            let client = world.client().connect(edge.at(443)).unwrap();
            let (server, peer) = listener.accept().unwrap();
            ports.insert(peer.port());
            (client, server)
        })
        .collect();
    assert_eq!(ports, (50_000..50_004).collect());
    assert!(world.client().try_ask(None, edge.at(443), b"?").is_err(), "there are no others");
    drop(open);
}
