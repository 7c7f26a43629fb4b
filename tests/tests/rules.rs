//! Access rules that change while the daemon runs: made, tried, changed, ended, kept, refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aya::maps::{
    Map, MapData, MapError,
    lpm_trie::{Key, LpmTrie},
};
use serde_json::Value;
use spectrum_common::{
    layout::{RuleKeyV4, RuleValue},
    limits,
};
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, EDGE_V6, SHUNNED, SHUNNED_V6,
        client::Knock,
        databases::{GEO, databases},
        edge::binary,
    },
};

/// What a command said to standard error; panics unless it refused.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `spectrum rule …` as JSON.
fn rule(world: &World, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["--output", "json", "rule"].into_iter().chain(arguments.iter().copied()).collect();
    serde_json::from_str(&world.edge().spectrum_ok(&arguments)).unwrap()
}

fn targets(world: &World) -> Vec<String> {
    let rules = rule(world, &["list"]);
    rules.as_array().unwrap().iter().map(|rule| rule["configuration"]["value"].as_str().unwrap().to_owned()).collect()
}

fn echoes(connection: &mut TcpStream) -> bool {
    connection.write_all(b"x").and_then(|()| connection.read_exact(&mut [0])).is_ok()
}

#[test]
fn a_rule_is_in_force_when_its_command_returns_and_gone_when_it_is_deleted() {
    let world = World::new();
    let origin = world.origin().echo();
    let app = config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin.addr()).ip_firewall();
    let edge = world.edge().run(app);
    for (source, to) in [(SHUNNED, edge.at(443)), (SHUNNED_V6, edge.at_v6(443))] {
        let mut open = world.client().connect_from(source, to).unwrap();
        let mut other = world.client().connect_from(if source.is_ipv4() { CLIENT } else { source }, to).unwrap();
        assert!(echoes(&mut open) && echoes(&mut other));
        let made = rule(&world, &["create", "block", &source.to_string(), "--notes", "a scanner"]);
        assert_eq!(made["mode"], "block");
        assert_eq!(made["configuration"]["target"], if source.is_ipv4() { "ip" } else { "ip6" });
        assert_eq!(made["scope"]["type"], "user");
        assert_eq!(made["extensions"]["source"], "operator");
        assert_eq!(open.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "what is open is ended");
        assert!(!source.is_ipv4() || echoes(&mut other), "what others have open is not");
        let blocked = edge.counter("blocked");
        assert_eq!(world.client().knock_from(source, to), Knock::Silence);
        assert!(edge.counter("blocked") > blocked, "by XDP");
        let why = world.edge().spectrum_ok(&["why", &source.to_string(), "--to", &to.to_string()]);
        assert!(why.contains("a scanner") && why.contains("operator"), "{why}");
        rule(&world, &["delete", &source.to_string()]);
        assert_eq!(world.client().ask_from(source, to, b"hi"), b"hi");
    }
    assert!(targets(&world).is_empty());
}

#[test]
fn rules_are_changed_and_allow_beats_block_at_runtime_too() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()).ip_firewall());
    let to = edge.at(443);
    let tried = rule(&world, &["create", "block", "192.0.2.0/24", "--simulate"]);
    assert_eq!(world.client().ask_from(SHUNNED, to, b"hi"), b"hi", "only tried");
    assert!(edge.counter("simulated") > 0);
    rule(&world, &["update", tried["id"].as_str().unwrap(), "--enforce", "--notes", "now in earnest"]);
    assert_eq!(world.client().knock_from(SHUNNED, to), Knock::Silence);
    rule(&world, &["create", "allow", "192.0.2.66"]);
    assert_eq!(world.client().ask_from(SHUNNED, to, b"hi"), b"hi");
    assert_eq!(world.client().knock_from(CLIENT, to), Knock::Silence);
    rule(&world, &["update", "192.0.2.66", "--mode", "block"]);
    assert_eq!(world.client().knock_from(SHUNNED, to), Knock::Silence);
    rule(&world, &["delete", "192.0.2.0/24"]);
    assert_eq!(world.client().ask_from(CLIENT, to, b"hi"), b"hi");
    assert_eq!(world.client().knock_from(SHUNNED, to), Knock::Silence, "its own rule still stands");
    assert_eq!(targets(&world), ["192.0.2.66"]);
}

#[test]
fn what_is_wrong_with_a_rule_is_said_and_nothing_changes() {
    let world = World::new();
    let origin = world.origin().echo();
    let app = config().app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.99");
    let edge = world.edge().run(app);
    rule(&world, &["create", "block", "203.0.113.9"]);
    let before = (targets(&world), edge.status()["kernel"]["revision"].clone());
    for (arguments, what) in [
        (&["create", "block", "192.0.2.300"][..], "192.0.2.300"),
        (&["create", "block", "192.0.2.0/33"], "192.0.2.0/33"),
        (&["create", "block", "192.0.2.5", "--zone", "example.net"], "no zone `example.net`"),
        (&["create", "allow", "192.0.2.5", "--simulate"], "cannot be tried"),
        (&["create", "block", "192.0.2.5", "--expires-on", "2001-01-01T00:00:00Z"], "has been already"),
        (&["create", "block", "192.0.2.5", "--expires-on", "soon"], "not a moment"),
        (&["create", "block", "203.0.113.9"], "error[10009]"),
        (&["create", "allow", "192.0.2.99"], "(file)"),
        (&["delete", "192.0.2.99"], "stands in the configuration file"),
        (&["update", "192.0.2.99", "--notes", "x"], "stands in the configuration file"),
        (&["delete", "192.0.2.77"], "no rule names"),
        (&["delete", "00000000000000000000000000000000"], "there is no rule"),
    ] {
        let arguments: Vec<&str> = ["rule"].into_iter().chain(arguments.iter().copied()).collect();
        let said = refused(&world.edge().spectrum(&arguments));
        assert!(said.contains(what), "{arguments:?}: {said}");
        assert_eq!((targets(&world), edge.status()["kernel"]["revision"].clone()), before, "{arguments:?}");
    }
}

#[test]
fn a_rule_ends_by_itself_whoever_made_it() {
    let world = World::new();
    let origin = world.origin().echo();
    let soon = humantime::format_rfc3339_millis(std::time::SystemTime::now() + Duration::from_secs(20)).to_string();
    let app = config().app("tcp/443").origin(origin.addr()).ip_firewall().raw(&format!(
        "[[access_rules]]\nmode = \"block\"\nconfiguration = {{ target = \"ip\", value = \"{SHUNNED}\" }}\nexpires_on = \"{soon}\"\n"
    ));
    let mut edge = world.edge().run(app);
    rule(&world, &["create", "block", "192.0.2.0/25", "--expires-in", "10s"]);
    assert_eq!(targets(&world).len(), 2);
    assert_eq!(world.client().knock_from(CLIENT, edge.at(443)), Knock::Silence);
    wait::eventually("the operator's rule ends", || (targets(&world).len() == 1).then_some(()));
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
    wait::eventually("the file's rule ends", || targets(&world).is_empty().then_some(()));
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    let printed = edge.process().printed();
    assert!(printed.contains("the operator rule block 192.0.2.0/25 has ended"), "{printed}");
    assert!(printed.contains("the file rule block 192.0.2.66/32 has ended"), "{printed}");
}

#[test]
fn operators_rules_outlive_reloads_restarts_and_kills() {
    let world = World::new();
    let origin = world.origin().echo();
    let app = || config().app("tcp/443").origin(origin.addr()).ip_firewall();
    let mut edge = world.edge().run(app());
    let kept = rule(&world, &["create", "block", "192.0.2.66", "--notes", "kept", "--zone", "example.com"]);
    rule(&world, &["create", "block", "203.0.113.9", "--expires-in", "10s"]);
    let made = Instant::now();
    edge.reload(app().allow("198.18.0.1"));
    assert_eq!(targets(&world), ["198.18.0.1", "192.0.2.66", "203.0.113.9"]);
    edge.kill();
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence, "it filters without a daemon");
    // Its end is a whole second: the first one that is not before the 10 s are over.
    wait::pause(Duration::from_secs(11).saturating_sub(made.elapsed()));
    let mut edge = world.edge().run(app());
    assert_eq!(targets(&world), ["192.0.2.66"], "what has ended in the meantime is gone");
    assert_eq!(rule(&world, &["get", "192.0.2.66"]), kept);
    assert!(edge.terminate().success());
    let mut edge = world.edge().run(app());
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    edge.reload(app().allow("192.0.2.66"));
    assert_eq!(targets(&world).len(), 2, "another scope is another rule");
}

#[test]
fn what_is_loaded_without_a_daemon_holds_operators_rules_too() {
    let world = World::new();
    let origin = world.origin().echo();
    let app = || config().app("tcp/443").origin(origin.addr()).ip_firewall();
    let mut edge = world.edge().run(app());
    let to = edge.at(443);
    rule(&world, &["create", "block", "192.0.2.66", "--expires-in", "1h"]);
    rule(&world, &["create", "block", "192.0.2.0/25", "--force", "--expires-in", "1s"]);
    assert!(edge.terminate().success());
    drop(edge);
    wait::pause(Duration::from_secs(2));
    let output = world.edge().spectrum_with("load", app());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("rules end only while a daemon runs"), "{said}");
    assert_eq!(world.client().knock_from(SHUNNED, to), Knock::Silence);
    assert_eq!(world.edge().status()["kernel"]["entries"]["rules_v4"], 1, "the other one's time is over");
    world.edge().spectrum_ok(&["unload"]);
}

#[test]
fn kept_rules_that_cannot_be_read_are_taken_from_the_file_before() {
    let world = World::new();
    let origin = world.origin().echo();
    let app = config().app("tcp/443").origin(origin.addr()).ip_firewall();
    let mut edge = world.edge().run(&app);
    rule(&world, &["create", "block", "192.0.2.66"]);
    rule(&world, &["create", "block", "192.0.2.67"]);
    assert!(edge.terminate().success());
    let break_it = |name: &str| {
        let path = format!("/var/lib/spectrum/{name}");
        world.edge().namespace().run(move || std::fs::write(path, "{ \"version\": 1, \"rules\": [").unwrap());
    };
    break_it("rules.json");
    let mut edge = world.edge().run(&app);
    assert_eq!(targets(&world), ["192.0.2.66"]);
    assert!(edge.process().printed().contains("rules.json cannot be read"), "it says so");
    assert!(edge.terminate().success());
    break_it("rules.json.last");
    let mut edge = world.edge().start(&app);
    assert!(!edge.process().wait(Duration::from_secs(20)).success());
    let printed = edge.process().await_line("does not hold the rules");
    assert!(printed.contains("restore one of them"), "{printed}");
}

#[test]
fn a_rule_that_cuts_off_its_own_maker_is_refused_unless_forced() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()).ip_firewall());
    let create = |arguments: &[&str]| {
        // As under sudo: the session's variables stand in the environment of a process above.
        let mut command = Command::new("sh");
        command.args(["-c", "env --unset=SSH_CONNECTION \"$@\"; exit $?", "sh"]).arg(binary());
        command.args(["rule", "create", "block"]).args(arguments);
        command.env("SSH_CONNECTION", "192.0.2.66 50000 192.0.2.1 22").env_remove("NOTIFY_SOCKET");
        world.edge().namespace().output(command)
    };
    let said = refused(&create(&["192.0.2.0/24"]));
    assert!(said.contains("192.0.2.0/24") && said.contains("192.0.2.66") && said.contains("--force"), "{said}");
    assert!(targets(&world).is_empty());
    assert!(create(&["192.0.2.0/26"]).status.success(), "it does not name where they are");
    assert!(create(&["192.0.0.0/16", "--simulate"]).status.success(), "only tried");
    rule(&world, &["create", "allow", "192.0.2.66"]);
    assert!(create(&["192.0.2.0/24"]).status.success(), "an allow rule keeps them in");
    rule(&world, &["delete", "192.0.2.0/24"]);
    rule(&world, &["delete", "192.0.2.66"]);
    assert!(create(&["192.0.2.0/24", "--force"]).status.success());
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
}

#[test]
fn a_full_map_refuses_a_rule_and_keeps_what_it_holds() {
    let world = World::new();
    let origin = world.origin().echo();
    let app = || config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin.addr()).ip_firewall();
    let mut edge = world.edge().run(app());
    rule(&world, &["create", "block", "192.0.2.64/27"]);
    rule(&world, &["create", "allow", "192.0.2.66"]);
    // Somebody else writes into the map until it takes no more.
    let written = world.edge().namespace().run(|| {
        let map = MapData::from_pin("/sys/fs/bpf/spectrum/default/RULES_V4").unwrap();
        let mut trie = LpmTrie::<_, RuleKeyV4, RuleValue>::try_from(Map::from_map_data(map).unwrap()).unwrap();
        let value = RuleValue { block: 60_000, ..RuleValue::default() };
        (0..1 << 24)
            .map(|number: u32| RuleKeyV4 { scope: [0; 4], address: (0x0a00_0000 + number).to_be_bytes() })
            .take_while(|key| {
                // There may be no memory at hand for a moment (`bpf_mem_alloc`, kernel/bpf/memalloc.c): that is not full.
                let inserted = wait::within(wait::DEADLINE, || match trie.insert(&Key::new(64, *key), value, 0) {
                    Ok(()) => Some(true),
                    Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOSPC) => {
                        Some(false)
                    }
                    Err(error) => {
                        eprintln!("{error:?}: once more");
                        None
                    }
                });
                inserted.expect("it is full, or takes one more")
            })
            .count()
    });
    assert_eq!(written, limits::RULE_PREFIXES - 2);
    let revision = edge.status()["kernel"]["revision"].clone();
    let said = refused(&world.edge().spectrum(&["rule", "create", "block", "192.0.2.2"]));
    assert!(said.contains("full") && said.contains("1048576") && said.contains("nothing was changed"), "{said}");
    assert_eq!(edge.status()["kernel"]["revision"], revision);
    assert_eq!(targets(&world), ["192.0.2.64/27", "192.0.2.66"]);
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi", "not half a rule either");
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi", "who is allowed still is");
    rule(&world, &["create", "block", "2001:db8:c::66"]);
    assert_eq!(world.client().knock_from(SHUNNED_V6, edge.at_v6(443)), Knock::Silence, "the other family has room");
    // A reload takes away what is not ours, and sets what is new.
    edge.reload(app().block("192.0.2.2"));
    assert_eq!(world.client().knock_from(CLIENT, edge.at(443)), Knock::Silence);
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    assert_eq!(edge.status()["kernel"]["entries"]["rules_v4"], 3);
}

#[test]
fn check_tells_who_would_be_cut_off() {
    let world = World::new();
    let app = config().app("tcp/443").origin("203.0.113.2:80").ip_firewall().block("192.0.2.0/24");
    let path = world.edge().write_config(app);
    let mut command = Command::new(binary());
    command.args(["check", "--config"]).arg(path).env("SSH_CONNECTION", "192.0.2.66 50000 192.0.2.1 22");
    let output = world.edge().namespace().output(command);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("192.0.2.0/24 names 192.0.2.66, where you are connected from"), "{said}");
}

#[test]
fn a_rule_takes_hold_while_traffic_flows() {
    takes_hold(100, "192.0.2.66");
}

#[test]
fn a_rule_among_thousands_takes_hold_while_traffic_flows() {
    takes_hold(20_000, "192.0.2.66");
}

#[test]
fn a_rule_about_a_country_among_thousands_takes_hold_while_traffic_flows() {
    takes_hold(20_000, "FR");
}

/// Once the command is back nothing of the source is answered, and the others are served meanwhile.
fn takes_hold(rules: u32, target: &str) {
    let world = World::new();
    let origin = world.origin().echo();
    databases(world.edge(), "FR");
    let mut app = config().raw(GEO).app("tcp/443").origin(origin.addr()).ip_firewall();
    for i in 0..rules {
        app = app.block(&format!("10.{}.{}.1", i / 256, i % 256));
    }
    let edge = world.edge().run(app);
    let to = edge.at(443);
    let stop = Arc::new(AtomicBool::new(false));
    let busy = {
        let stop = Arc::clone(&stop);
        world.client().namespace().spawn(move || {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect_timeout(&to, wait::DEADLINE).unwrap();
                stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0])).unwrap();
                served += 1;
            }
            served
        })
    };
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut open = world.client().connect_from(SHUNNED, to).unwrap();
        assert!(echoes(&mut open));
        let began = Instant::now();
        rule(&world, &["create", "block", target]);
        let answered = began.elapsed();
        assert_eq!(world.client().knock_from(SHUNNED, to), Knock::Silence);
        assert_eq!(open.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        times.push(answered);
        rule(&world, &["delete", target]);
        assert_eq!(world.client().ask_from(SHUNNED, to, b"hi"), b"hi");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(busy.join().unwrap() > 0, "others were served meanwhile");
    times.sort();
    eprintln!("{rules} rules: `spectrum rule create block {target}` took {times:?}");
    assert!(times[2] < Duration::from_secs(5), "the command, its process and all: {times:?}");
}
