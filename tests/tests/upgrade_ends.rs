//! How an upgrade ends for those who were connected before it: each connection has its two events, whoever is stopped when.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{EDGE, config::Config, edge::at, lineage::Lineage, load::Load},
};

const EVENTS: &str = "/mnt/events.jsonl";

fn node(origin: SocketAddr, drain: &str) -> Config {
    let events = format!("[events]\nfile = \"{EVENTS}\"\n");
    config().node("drain", &format!("\"{drain}\"")).raw(&events).app("tcp/443").origin(origin)
}

/// How many `connect` and `disconnect` events there are for each port of the client.
fn told(world: &World) -> BTreeMap<u64, (usize, usize)> {
    let text = world.edge().namespace().run(|| fs::read_to_string(EVENTS).unwrap_or_default());
    let mut told: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let counts = told.entry(event["ClientPort"].as_u64().unwrap()).or_default();
        match event["Event"].as_str() {
            Some("connect") => counts.0 += 1,
            Some("disconnect") => counts.1 += 1,
            _ => panic!("{line}"),
        }
    }
    told
}

/// How many connections the events tell of. A port may have had several, one after the other.
fn assert_all_told_once(world: &World) -> usize {
    let told = told(world);
    let odd: Vec<_> = told.iter().filter(|(_, (connects, disconnects))| connects != disconnects).collect();
    assert!(odd.is_empty(), "of {}: {odd:?}", told.len());
    told.values().map(|(connects, _)| connects).sum()
}

fn answers(stream: &mut TcpStream) -> bool {
    let mut answer = [0];
    stream.write_all(b"?").and_then(|()| stream.read_exact(&mut answer)).is_ok()
}

#[test]
fn every_connection_has_one_connect_and_one_disconnect_over_upgrades() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = Lineage::start(world.edge(), node(origin.addr(), "10s"));
    let short = Load::begin(world.client(), at(EDGE, 443), 3, Duration::ZERO);
    let lasting = Load::begin(world.client(), at(EDGE, 443), 3, Duration::from_secs(1));
    for _ in 0..10 {
        short.goes_on();
        edge.upgrade();
    }
    let (short, lasting) = (short.end(), lasting.end());
    short.assert_all_answered();
    lasting.assert_all_answered();
    edge.terminate();
    let connections = u64::try_from(assert_all_told_once(&world)).unwrap();
    assert_eq!(connections, short.answered + lasting.answered);
}

#[test]
fn a_stop_waits_for_who_drains_and_nothing_is_left_untold() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let mut edge = Lineage::start(world.edge(), node(origin.addr(), "30s"));
    let mut first = world.client().connect(at(EDGE, 443)).unwrap();
    assert!(answers(&mut first));
    edge.upgrade();
    let mut second = world.client().connect(at(EDGE, 443)).unwrap();
    assert!(answers(&mut second));
    edge.upgrade();
    edge.signal(Signal::SIGTERM);
    wait::pause(Duration::from_secs(2));
    assert!(answers(&mut first) && answers(&mut second), "both have their time");
    assert_eq!(edge.processes().len(), 3);
    drop(first);
    wait::eventually("the first one has done", || (edge.processes().len() == 2).then_some(()));
    assert!(answers(&mut second) && edge.processes().contains(&edge.pid()));
    drop(second);
    edge.await_end();
    assert_eq!(assert_all_told_once(&world), 2);
    before.assert_unchanged(world.edge());
}

#[test]
fn a_second_signal_ends_who_drains_at_once_too() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let mut edge = Lineage::start(world.edge(), node(origin.addr(), "1m"));
    let mut open = world.client().connect(at(EDGE, 443)).unwrap();
    assert!(answers(&mut open));
    edge.upgrade();
    edge.signal(Signal::SIGTERM);
    wait::pause(Duration::from_millis(500));
    assert!(answers(&mut open));
    let told = Instant::now();
    edge.signal(Signal::SIGTERM);
    edge.await_end();
    assert!(told.elapsed() < Duration::from_secs(4), "{:?}", told.elapsed());
    assert_eq!(assert_all_told_once(&world), 1);
    before.assert_unchanged(world.edge());
}

/// Who tries a port that only the new file has is refused until it is there, and served from then on.
#[test]
fn clients_of_a_port_that_comes_are_served_from_the_first_one_on() {
    let world = World::new();
    let origin = world.origin().echo();
    let ports = 8001..8011_u16;
    let file = |ports: &mut dyn Iterator<Item = u16>| {
        ports.fold(node(origin.addr(), "10s").node("workers", "1").edge("closed_ports", "\"reset\""), |file, port| {
            file.app(&format!("tcp/{port}")).origin(origin.addr())
        })
    };
    let mut edge = Lineage::start(world.edge(), file(&mut std::iter::empty()));
    for port in ports.clone() {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                world.client().namespace().spawn(move || {
                    let deadline = Instant::now() + wait::DEADLINE;
                    let mut answered = 0;
                    while answered < 20 && Instant::now() < deadline {
                        let Ok(mut stream) = TcpStream::connect(at(EDGE, port)) else { continue };
                        stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
                        assert!(answers(&mut stream), "{port}: accepted, and not served");
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        world.edge().write_config(file(&mut (ports.start..=port)));
        edge.upgrade();
        for client in clients {
            assert_eq!(client.join().unwrap(), 20);
        }
    }
}
