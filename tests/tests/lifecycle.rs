//! Beginning and end: what starts, what stays, what is adopted, and that nothing is left behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use spectrum_common::names;
use spectrum_tests::{
    World, config, wait,
    world::{CLIENT, SHUNNED, client::Knock, config::Config, edge::Edge, origin::Origin, server::Server},
};

const PINS: &str = "/sys/fs/bpf/spectrum/default";

/// An application that checks rules, and one source that may not reach it.
fn shielded(origin: &Server) -> Config {
    config().app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.66")
}

fn echo(origin: &Origin) -> Server {
    origin.echo()
}

fn pins(edge: &Edge) -> Vec<String> {
    edge.namespace().run(|| {
        let Ok(entries) = std::fs::read_dir(PINS) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    })
}

/// The number of the XDP program on the edge's interface, 0 for none.
fn xdp_program(edge: &Edge) -> u64 {
    let links: serde_json::Value =
        serde_json::from_str(&edge.stdout("ip", &["-json", "-details", "link", "show", "dev", "eth0"])).unwrap();
    links[0]["xdp"]["prog"]["id"].as_u64().unwrap_or(0)
}

#[test]
fn an_orderly_stop_leaves_nothing() {
    let world = World::new();
    let origin = echo(world.origin());
    let before = world.edge().traces();
    let mut edge = world.edge().run(shielded(&origin));
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    assert!(world.edge().traces() != before, "the traces show what it does while it runs");
    let status = edge.terminate();
    assert!(status.success(), "{status}");
    before.assert_unchanged(world.edge());
}

#[test]
fn load_filters_without_a_daemon_and_unload_leaves_nothing() {
    let world = World::new();
    let origin = echo(world.origin());
    let before = world.edge().traces();
    let output = world.edge().spectrum_with("load", shielded(&origin));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(xdp_program(world.edge()), 0);

    let at = |port| spectrum_tests::world::edge::at(spectrum_tests::world::EDGE, port);
    assert_eq!(world.client().knock_from(SHUNNED, at(443)), Knock::Silence);
    assert!(world.edge().counter("blocked") > 0, "filtered by the kernel alone");
    assert_eq!(world.client().knock_from(CLIENT, at(443)), Knock::Refused, "I6: steered, and nobody listens");
    assert_eq!(world.client().knock(at(444)), Knock::Silence, "closed ports are closed");

    world.edge().spectrum_ok(&["unload"]);
    before.assert_unchanged(world.edge());
}

#[test]
fn the_daemon_takes_over_what_load_made_and_leaves_it_there() {
    let world = World::new();
    let origin = echo(world.origin());
    let output = world.edge().spectrum_with("load", shielded(&origin));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut edge = world.edge().run(shielded(&origin));
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    assert!(edge.terminate().success());
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence, "what load made stays");
    assert_ne!(xdp_program(world.edge()), 0);
    world.edge().spectrum_ok(&["unload"]);
    assert_eq!(xdp_program(world.edge()), 0);
    assert_eq!(pins(world.edge()), [""; 0]);
}

#[test]
fn after_kill_9_the_shield_holds_and_a_restart_adopts_it() {
    let world = World::new();
    let origin = echo(world.origin());
    let before = world.edge().traces();
    let mut edge = world.edge().run(shielded(&origin));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    let blocked = edge.counter("blocked");
    edge.kill();

    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence, "still filtered");
    assert!(world.edge().counter("blocked") > blocked, "still counted");
    assert_eq!(world.client().knock_from(CLIENT, edge.at(443)), Knock::Refused);
    let blocked = world.edge().counter("blocked");
    drop(edge);

    let mut edge = world.edge().run(shielded(&origin));
    assert!(edge.counter("blocked") >= blocked, "the counters go on");
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    assert!(edge.terminate().success());
    before.assert_unchanged(world.edge());
}

#[test]
fn a_restart_with_another_file_brings_the_pinned_maps_up_to_it() {
    let world = World::new();
    let origin = echo(world.origin());
    let mut edge = world.edge().run(shielded(&origin).app("tcp/1000-1999").origin("203.0.113.2:1000-1999"));
    edge.kill();
    drop(edge);
    let edge = world.edge().run(config().app("tcp/8443").origin(origin.addr()));
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(8443), b"hi"), b"hi", "the old rule is gone");
    for port in [443, 1000, 1500] {
        assert_eq!(world.client().knock(edge.at(port)), Knock::Silence, "port {port} is closed again");
    }
}

#[test]
fn sigterm_lets_connections_finish() {
    let world = World::new();
    let origin = echo(world.origin());
    let mut edge = world.edge().run(shielded(&origin));
    let mut connection = world.client().connect(edge.at(443)).unwrap();
    connection.write_all(b"?").unwrap();
    connection.read_exact(&mut [0]).unwrap();
    edge.process().signal(Signal::SIGTERM);
    edge.await_notification("STOPPING=1");
    wait::eventually("no new connections are taken", || {
        (world.client().knock(edge.at(443)) != Knock::Connected).then_some(())
    });
    connection.write_all(b"!").unwrap();
    let mut answer = [0];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"!", "the open one goes on");
    assert_eq!(edge.process().ended(), None);
    drop(connection);
    assert!(edge.process().wait(wait::DEADLINE).success(), "it ends when the last has");
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let world = World::new();
    let origin = echo(world.origin());
    let mut edge = world.edge().run(shielded(&origin).node("drain", "\"1s\""));
    let mut connection = world.client().connect(edge.at(443)).unwrap();
    connection.write_all(b"?").unwrap();
    connection.read_exact(&mut [0]).unwrap();
    let begun = Instant::now();
    let status = edge.terminate();
    assert!(begun.elapsed() >= Duration::from_millis(900), "it waited for the connection");
    assert!(status.success(), "{status}");
    assert!(matches!(connection.read(&mut [0]), Ok(0) | Err(_)), "and then closed it");
}

#[test]
fn a_second_sigterm_stops_at_once() {
    let world = World::new();
    let origin = echo(world.origin());
    let before = world.edge().traces();
    let mut edge = world.edge().run(shielded(&origin).node("drain", "\"600s\""));
    let mut connection = world.client().connect(edge.at(443)).unwrap();
    connection.write_all(b"?").unwrap();
    connection.read_exact(&mut [0]).unwrap();
    edge.process().signal(Signal::SIGTERM);
    edge.await_notification("STOPPING=1");
    edge.process().signal(Signal::SIGTERM);
    edge.process().wait(wait::DEADLINE);
    drop(connection);
    // The ends of the forced connection stay in TIME_WAIT, which no list of listeners shows.
    before.assert_unchanged(world.edge());
}

#[test]
fn a_second_instance_is_told_who_holds_the_first() {
    let world = World::new();
    let origin = echo(world.origin());
    let edge = world.edge().run(shielded(&origin));
    let output = world.edge().spectrum_with("run", shielded(&origin));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&edge.pid().to_string()), "names process {}: {stderr}", edge.pid());
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi", "the first is untouched");
    let output = world.edge().spectrum(&["unload"]);
    assert_eq!(output.status.code(), Some(1), "unload takes nothing away from a running daemon");
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
}

#[test]
fn bpftool_reads_every_pinned_map_by_name() {
    let world = World::new();
    let origin = echo(world.origin());
    let edge = world.edge().run(shielded(&origin));
    world.client().ask(edge.at(443), b"hi");
    let show = |map: &str| {
        let path = format!("{PINS}/{map}");
        let text = world.edge().stdout("bpftool", &["--json", "map", "dump", "pinned", &path]);
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    for map in names::MAPS {
        assert!(pins(world.edge()).contains(&map.to_owned()), "{map} is pinned");
    }
    let steer = show(names::STEER).to_string();
    for field in ["protocol", "address", "port", "app", "zone", "flags"] {
        assert!(steer.contains(&format!("\"{field}\"")), "STEER shows {field}: {steer}");
    }
    let rules = show(names::RULES_V4).to_string();
    for field in ["scope", "address", "allow", "block"] {
        assert!(rules.contains(&format!("\"{field}\"")), "RULES_V4 shows {field}: {rules}");
    }
    assert!(show(names::COUNTERS).to_string().contains("\"packets\""));
    assert!(edge.counter("steered") > 0);
}

#[test]
fn status_is_ready_only_while_a_daemon_serves() {
    let world = World::new();
    let origin = echo(world.origin());
    assert_eq!(world.edge().spectrum(&["status"]).status.code(), Some(1));
    let mut edge = world.edge().run(shielded(&origin));
    world.edge().spectrum_ok(&["status", "--wait", "10s"]);
    let status = edge.status().to_string();
    for part in ["eth0", "native", "tcp/443"] {
        assert!(status.contains(part), "status names {part}: {status}");
    }
    assert!(edge.terminate().success());
    assert_eq!(world.edge().spectrum(&["status"]).status.code(), Some(1));
}
