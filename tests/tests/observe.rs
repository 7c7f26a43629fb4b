//! What the daemon tells: events, metrics, status, and why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, ORIGIN, SHUNNED,
        config::Config,
        edge::{Edge, at},
        server::Server,
    },
};

const EVENTS: &str = "/mnt/events.jsonl";

/// Writes its events to a file.
fn node() -> Config {
    config().raw(&format!("[events]\nfile = \"{EVENTS}\"\n"))
}

/// The events so far, once there are as many as expected; more are a failure.
fn events(edge: &Edge, count: usize) -> Vec<Value> {
    let read = || -> Vec<Value> {
        let text = edge.namespace().run(|| std::fs::read_to_string(EVENTS)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    };
    wait::within(wait::DEADLINE, || (read().len() >= count).then_some(()));
    let events = read();
    assert_eq!(events.len(), count, "{events:#?}");
    events
}

fn kinds(events: &[Value]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for event in events {
        let kind = format!("{} {}", event["Event"].as_str().unwrap(), event["Status"]);
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// A rule that XDP does not get to apply: the connection is accepted, and refused then.
fn filtered_at_accept(origin: &Server) -> Config {
    node().node("xdp_mode", "\"off\"").app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.66")
}

#[test]
fn a_connection_is_told_once_when_it_begins_and_once_when_it_ends() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(node().app("tcp/443").origin(origin.addr()));
    for _ in 0..10 {
        assert_eq!(world.client().ask(edge.at(443), b"hello"), b"hello");
    }
    let events = events(world.edge(), 20);
    assert_eq!(kinds(&events), BTreeMap::from([("connect 0".into(), 10), ("disconnect 200".into(), 10)]));
    let end = events.iter().find(|event| event["Event"] == "disconnect").unwrap();
    assert_eq!((&end["ClientBytes"], &end["OriginBytes"]), (&5.into(), &5.into()));
    assert_eq!(end["ClientIP"], CLIENT.to_string());
    assert_eq!((&end["OriginIP"], &end["OriginPort"]), (&ORIGIN.to_string().into(), &origin.addr().port().into()));
    let extensions = &end["extensions"];
    assert_eq!((&extensions["edge_ip"], &extensions["edge_port"]), (&EDGE.to_string().into(), &443.into()));
    assert_eq!(extensions["hostname"], "app1.example.com");
}

#[test]
fn every_way_to_end_has_its_status() {
    let world = World::new();
    let origin = world.origin().echo();
    let (listener, silent) = world.origin().listen();
    let config = node().app("tcp/443").origin(silent).app("tcp/444").origin(at(ORIGIN, 9));
    let mut edge = world.edge().run(config.app("tcp/445").origin(origin.addr()));

    let mut client = world.client().connect(edge.at(443)).unwrap();
    client.write_all(b"x").unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.read_exact(&mut [0]).unwrap();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(events(world.edge(), 2)[1]["Status"], 499, "the client reset it");

    // Accepted by the kernel, ended by the refusal of the origin.
    drop(world.client().try_ask(None, edge.at(444), b"x"));
    let refused = events(world.edge(), 3).pop().unwrap();
    assert_eq!((&refused["Event"], &refused["Status"]), (&"originError".into(), &521.into()));

    let mut open = world.client().connect(edge.at(445)).unwrap();
    open.write_all(b"x").unwrap();
    open.read_exact(&mut [0]).unwrap();
    edge.process().signal(nix::sys::signal::Signal::SIGTERM);
    edge.await_notification("STOPPING=1");
    edge.process().signal(nix::sys::signal::Signal::SIGTERM);
    edge.process().wait(wait::DEADLINE);
    let cut = events(world.edge(), 5).pop().unwrap();
    assert_eq!((&cut["Event"], &cut["Status"]), (&"disconnect".into(), &999.into()), "cut by the second SIGTERM");
}

#[test]
fn a_source_that_is_refused_at_accept_is_told_as_filtered() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(filtered_at_accept(&origin));
    drop(world.client().try_ask(Some(SHUNNED), edge.at(443), b"x"));
    let event = events(world.edge(), 1).pop().unwrap();
    assert_eq!((&event["Event"], &event["Status"]), (&"clientFiltered".into(), &403.into()));
    assert_eq!(
        (&event["ClientIP"], &event["ClientMatchedIpFirewall"]),
        (&SHUNNED.to_string().into(), &"BLOCK_IP".into())
    );
}

#[test]
fn metrics_count_connections_bytes_and_verdicts_and_stop_being_ready_with_the_daemon() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    let config = config().raw("[metrics]\nlisten = \"127.0.0.1:9464\"\n").app("tcp/443").origin(origin);
    let mut edge = world.edge().run(config.ip_firewall().block("192.0.2.66"));
    let mut client = world.client().connect(edge.at(443)).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    client.write_all(b"12345").unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();
    world.client().knock_from(SHUNNED, edge.at(443));

    let get = |path: &str| {
        let url = format!("http://127.0.0.1:9464{path}");
        let format = "\n%{http_code}";
        world.edge().stdout("curl", &["--silent", "--max-time", "20", "--write-out", format, &url])
    };
    assert!(get("/livez").ends_with("\n200"));
    assert!(get("/readyz").ends_with("\n200"));
    let text = get("/metrics");
    let value = |name: &str, label: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(label));
        let line = line.unwrap_or_else(|| panic!("no {name} with {label}:\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!((value("spectrum_connections_opened", "app1.example.com") - 1.0).abs() < f64::EPSILON);
    assert!(value("spectrum_", "reason=\"blocked\"") >= 1.0);

    edge.process().signal(nix::sys::signal::Signal::SIGTERM);
    edge.await_notification("STOPPING=1");
    assert!(get("/readyz").ends_with("\n503"), "draining");
    assert!(get("/livez").ends_with("\n200"));
}

#[test]
fn why_is_answered_by_the_kernel_program_with_the_rule_that_decides() {
    let world = World::new();
    let origin = world.origin().echo();
    let config = config().app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.0/24").allow("192.0.2.2");
    let mut edge = world.edge().run(config);
    let why = |from: &str, to: &str| -> Value {
        let text = world.edge().spectrum_ok(&["--output", "json", "why", from, "--to", to]);
        serde_json::from_str::<Value>(&text).unwrap()[0].take()
    };
    let before = edge.counter("blocked");
    let blocked = why("192.0.2.66", "198.51.100.10:443");
    assert_eq!((&blocked["action"], &blocked["reason"]), (&"drop".into(), &"blocked".into()));
    assert_eq!(blocked["rule"]["target"], "192.0.2.0/24");
    assert_eq!(blocked["application"]["hostname"], "app1.example.com");
    assert_eq!(edge.counter("blocked"), before, "a question is not traffic");

    let allowed = why("192.0.2.2", "198.51.100.10:443");
    assert_eq!((&allowed["action"], &allowed["reason"]), (&"pass".into(), &"allowed".into()));
    assert_eq!(why("203.0.113.77", "198.51.100.10:443")["reason"], "steered");
    assert_eq!(why("192.0.2.2", "198.51.100.10:80")["reason"], "closed_port");
    assert_eq!(why("192.0.2.66", "192.0.2.1:22")["reason"], "not_ours");

    let stage = |answer: &Value, stage: &str| -> String {
        let stages = answer["stages"].as_array().unwrap();
        stages.iter().find(|known| known["stage"] == stage).unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    for (answer, outcomes) in [
        (&blocked, [("parse", "pass"), ("sanity", "pass"), ("access", "drop"), ("flood", "not reached")]),
        (&allowed, [("steering", "pass"), ("access", "pass"), ("flood", "pass"), ("serve", "pass")]),
        (
            &why("192.0.2.2", "198.51.100.10:80"),
            [("steering", "drop"), ("sanity", "not reached"), ("access", "not reached"), ("flood", "not reached")],
        ),
    ] {
        for (name, outcome) in outcomes {
            assert_eq!(stage(answer, name), outcome, "{name}: {answer}");
        }
    }
    let segment = &allowed["segment"];
    assert_eq!((&segment["now"]["reason"], &segment["protected"]["reason"]), (&"allowed".into(), &"orphan".into()));
    assert_eq!(blocked["segment"]["protected"]["reason"], "blocked");
    assert!(segment["protected_syn"].as_str().unwrap().contains("cookie"));
    assert_eq!(edge.counter("no_listener") + edge.counter("orphan"), 0, "nor is a segment that was asked about");
    // In the protected mode the program answers a SYN, also one that is only asked about.
    world.edge().stdout("sysctl", &["-w", "net.ipv4.tcp_syncookies=2"]);
    let answered = why("203.0.113.77", "198.51.100.10:443");
    assert_eq!((&answered["reason"], stage(&answered, "flood")), (&"syn_cookie".into(), "answer".into()));
    world.edge().stdout("sysctl", &["-w", "net.ipv4.tcp_syncookies=1"]);
    let text = world.edge().spectrum_ok(&["why", "192.0.2.66", "--to", "198.51.100.10:443"]);
    assert!(text.contains("access    drop") && text.contains("flood     not reached"), "{text}");
    let datagram = world.edge().spectrum_ok(&["why", "192.0.2.2", "--to", "198.51.100.10:443", "--udp"]);
    assert!(datagram.contains("a datagram:") && !datagram.contains("protected"), "{datagram}");

    edge.kill();
    assert_eq!(why("192.0.2.66", "198.51.100.10:443")["reason"], "blocked", "the shield answers without a daemon");
}

#[test]
fn drops_are_sampled_into_the_log_with_who_and_why() {
    let world = World::new();
    let origin = world.origin().echo();
    let config = config().app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.66");
    let file = world.edge().write_config(config);
    let mut edge = world.edge().start_command(|spectrum| {
        let mut command = Command::new(spectrum);
        command.args(["run", "--config"]).arg(file).env("SPECTRUM_LOG", "spectrum_user=debug");
        command
    });
    edge.await_ready();
    world.client().knock_from(SHUNNED, edge.at(443));
    let line = edge.process().await_line("blocked 192.0.2.66");
    for part in ["198.51.100.10:443", "app1.example.com"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn status_counts_what_each_application_served() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()).app("tcp/444").origin(origin.addr()));
    world.client().ask(edge.at(443), b"12345");
    let status = wait::eventually("the connection is counted", || {
        let status = edge.status();
        status.to_string().contains("\"client_bytes\":5").then_some(status)
    });
    let text = status.to_string();
    assert!(text.contains("\"connections_opened\":1") && text.contains("\"connections_opened\":0"), "{text}");
}

#[test]
fn doctor_finds_this_host_fit() {
    let world = World::new();
    let text = world.edge().spectrum_ok(&["doctor"]);
    for part in ["sk_lookup", "eth0"] {
        assert!(text.contains(part), "doctor speaks of {part}:\n{text}");
    }
}
