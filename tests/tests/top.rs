//! `spectrum top`: what it tells of real traffic, and that it gives the terminal back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::process::Command;

use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        EDGE, SHUNNED,
        config::Config,
        edge::{Edge, binary},
        server::Server,
        trafgen::{self, Flood},
    },
};

fn node(origin: &Server) -> Config {
    config().app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.66")
}

fn once(edge: &Edge) -> Value {
    let text = edge.spectrum_ok(&["top", "--once", "--output", "json"]);
    serde_json::from_str(&text).expect("one JSON document")
}

/// What is on the screen of a terminal of this size when `spectrum top` has been told to end by `signal`.
fn on_a_terminal(edge: &Edge, size: &str, signal: &str) -> String {
    let inside =
        format!("stty {size}; timeout --foreground -s {signal} 6 {} top; stty -a | head -1", binary().display());
    edge.stdout("script", &["--quiet", "--return", "--command", &inside, "/dev/null"])
}

#[test]
fn a_flood_shows_in_rates_reasons_and_sources() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(node(&origin));
    let open = world.client().connect(edge.at(443)).unwrap();
    let flood = Flood::of(&world, &trafgen::syns_from(SHUNNED, 443), 5_000);
    let seen = wait::eventually("the flood is seen", || {
        let seen = once(world.edge());
        let blocked = seen["applications"][0]["drops"]["blocked"].as_f64().unwrap_or_default();
        (blocked > 500.0).then_some(seen)
    });
    drop(flood);
    let app = &seen["applications"][0];
    assert_eq!((&app["hostname"], &app["connections_active"]), (&"app1.example.com".into(), &1.into()));
    let rate = |value: &Value| value.as_f64().unwrap();
    assert!(rate(&app["bits_per_second"]) >= rate(&app["packets_per_second"]) * 8.0 * 40.0, "{seen}");
    let blocked = seen["reasons"].as_array().unwrap().iter().find(|rate| rate["reason"] == "blocked").unwrap();
    assert_eq!(blocked["action"], "drop");
    let (sources, blocked) = (&seen["sources"], rate(&blocked["packets_per_second"]));
    assert_eq!(sources["estimated"], true);
    assert!(sources["samples"].as_u64().unwrap() > 50, "{sources}");
    let heaviest = &sources["top"][0];
    assert_eq!(heaviest["address"], SHUNNED.to_string());
    let estimated = rate(&heaviest["packets_per_second"]);
    assert!(estimated > blocked / 2.0 && estimated < blocked * 2.0, "{estimated} estimated, {blocked} counted");
    drop(open);
}

/// What the packets for the application look like: of the likeness of these flags, the value of a field that all share.
fn common(seen: &Value, flags: &Value, field: &str) -> Option<u64> {
    let portrait = seen["applications"][0]["portrait"].as_array().unwrap();
    let likeness = portrait.iter().find(|likeness| likeness["tcp_flags"] == *flags)?;
    let common = likeness["common"].as_array().unwrap().iter();
    common.filter(|common| common["percent"].as_u64() > Some(90)).find(|c| c["field"] == field)?["value"].as_u64()
}

#[test]
fn packets_of_one_tool_are_known_by_what_they_have_in_common() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let _edge = world.edge().run(node(&origin));
    let edge = EDGE.to_string();
    let syns = ["--syn", "--ttl", "57", "--win", "777", "--destport", "443", "--interval", "u200", "--rand-source"];
    // From one port, from many, and another kind of packet.
    for (more, flags, port) in [
        (&["--baseport", "53", "--keep"][..], Value::from("SYN"), Some(53)),
        (&[], Value::from("SYN"), None),
        (&["--ack", "--baseport", "53", "--keep"], Value::from("SYN|ACK"), Some(53)),
    ] {
        let mut flood = Command::new("hping3");
        flood.args(syns).args(more).args(["--quiet", &edge]);
        let mut flood = world.client().namespace().start(flood);
        let seen = wait::eventually("the flood is described", || {
            let seen = once(world.edge());
            let is_flood =
                common(&seen, &flags, "tcp_window") == Some(777) && common(&seen, &flags, "source_port") == port;
            is_flood.then_some(seen)
        });
        assert_eq!(common(&seen, &flags, "ttl"), Some(57), "{seen}");
        assert_eq!(common(&seen, &flags, "ip_length"), Some(40), "{seen}");
        assert_eq!(common(&seen, &flags, "tcp_options"), Some(0), "{seen}");
        assert_eq!(common(&seen, &flags, "destination_port"), Some(443), "{seen}");
        let text = world.edge().spectrum_ok(&["top", "--once"]);
        assert!(text.contains("40 bytes, ttl 57, window 777, no TCP options"), "{text}");
        flood.kill().unwrap();
        flood.wait().unwrap();
    }
}

#[test]
fn sources_that_send_one_packet_each_are_nobodys_top_sources() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let edge = world.edge().run(node(&origin));
    let flood = Flood::of(&world, &trafgen::syns_to(443), 12_000);
    wait::eventually("the flood is seen", || (!edge.status()["daemon"]["protection"].is_null()).then_some(()));
    let text = world.edge().spectrum_ok(&["top", "--once", "--interval", "3s"]);
    drop(flood);
    assert!(text.starts_with("PROTECTED: SYN flood on app1.example.com tcp/443\n"), "{text}");
    assert!(text.contains("syn_cookie") && text.contains("estimated from"), "{text}");
}

#[test]
fn the_terminal_is_given_back_at_an_interrupt() {
    gives_the_terminal_back("INT");
}

#[test]
fn the_terminal_is_given_back_where_it_is_told_to_end() {
    gives_the_terminal_back("TERM");
}

#[test]
fn the_terminal_is_given_back_at_a_hangup() {
    gives_the_terminal_back("HUP");
}

/// Whatever ends it; and nothing was wider than the terminal.
fn gives_the_terminal_back(signal: &str) {
    let world = World::new();
    let origin = world.origin().echo();
    let _edge = world.edge().run(node(&origin));
    let screen = on_a_terminal(world.edge(), "rows 12 cols 40", signal);
    let (entered, rest) = screen.split_once("\x1b[?1049h\x1b[?25l").expect("a screen of its own");
    assert!(!entered.contains("APPLICATION"));
    let (shown, after) = rest.split_once("\x1b[?25h\x1b[?1049l").unwrap_or_else(|| panic!("{signal}: {screen:?}"));
    assert!(after.contains("rows 12; columns 40"), "{after:?}");
    // The terminal makes a carriage return of its own for each line.
    let frame = shown.split("\x1b[H").last().unwrap().replace("\r\r\n", "\r\n");
    assert!(frame.contains("APPLICATION"), "{frame:?}");
    assert!(frame.split("\r\n").count() <= 12, "{frame:?}");
    for line in frame.split("\r\n") {
        let text = ["\x1b[1m", "\x1b[0m", "\x1b[K", "\x1b[J"]
            .iter()
            .fold(line.to_owned(), |text, part| text.replace(part, ""));
        assert!(text.chars().count() <= 40, "{text:?}");
    }
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_what_it_can() {
    let world = World::new();
    let origin = world.origin().echo();
    assert!(world.edge().spectrum_with("load", node(&origin)).status.success());
    let refused = world.edge().spectrum(&["top"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--once"));
    let seen = once(world.edge());
    assert_eq!((&seen["daemon"], seen["applications"].as_array().unwrap().len()), (&false.into(), 1));

    let lines = world.edge().stdout(
        "sh",
        &["-c", &format!("timeout 20 {} top --output json --interval 300ms | head -3", binary().display())],
    );
    let documents: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents.len(), 3);
}
