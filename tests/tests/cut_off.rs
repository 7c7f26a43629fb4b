//! Nothing that an operator types cuts off the connection that it is typed on, unless they insist.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::process::{Command, Output};

use spectrum_tests::world::EDGE;
use spectrum_tests::{
    World, config,
    world::{
        SHUNNED,
        client::Knock,
        config::Config,
        databases::{GEO, databases},
        edge::{Daemon, Edge, at, binary},
    },
};

/// `spectrum` in the shell of somebody who is connected from [`SHUNNED`].
fn typed(edge: &Edge, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("SSH_CONNECTION", format!("{SHUNNED} 50000 192.0.2.1 22")).env_remove("NOTIFY_SOCKET");
    edge.namespace().output(command)
}

/// What a command said to standard error; panics unless it refused, and says which rule, which connection, what to do.
fn refused(output: &Output, rule: &str) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in [rule, "192.0.2.66", "where you are connected from", "allow 192.0.2.66 first", "--force"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    said
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `spectrum reload` in that shell; the service manager hears of it, and would keep the daemon waiting if it did not.
fn reload(world: &World, edge: &mut Daemon<'_>, arguments: &[&str]) -> Output {
    let output = typed(world.edge(), &[&["reload"], arguments].concat());
    edge.await_ready();
    output
}

fn node(origin: impl std::fmt::Display) -> Config {
    config().app("tcp/443").origin(origin).ip_firewall()
}

fn is_served(world: &World) -> bool {
    let to = at(EDGE, 443);
    world.client().try_ask(Some(SHUNNED), to, b"hi").is_ok_and(|answer| answer == b"hi")
}

#[test]
fn a_reload_that_blocks_its_operator_is_refused_and_the_old_rules_stay() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()).allow("192.0.2.66").block("192.0.0.0/16"));
    let revision = || world.edge().status()["kernel"]["revision"].clone();
    let before = revision();
    for (file, rule) in [
        (node(origin.addr()).block("192.0.2.0/24"), "block 192.0.2.0/24"),
        (node(origin.addr()).block("192.0.2.66").app("tcp/444").origin(origin.addr()), "block 192.0.2.66"),
        // What kept them in is taken away.
        (node(origin.addr()).block("192.0.0.0/16"), "block 192.0.0.0/16"),
        (node(origin.addr()).block_in_zone("192.0.2.64/26"), "block 192.0.2.64/26"),
    ] {
        world.edge().write_config(file);
        let said = refused(&reload(&world, &mut edge, &[]), rule);
        assert!(said.contains("not reloaded, everything stays as it was"), "{said}");
        assert_eq!(revision(), before, "{rule}");
        assert!(is_served(&world), "{rule}");
        let problem = edge.status()["daemon"]["problem"].to_string();
        assert!(problem.contains(rule), "{problem}");
    }
    world.edge().write_config(node(origin.addr()).block("192.0.2.66").allow("192.0.2.66/31"));
    succeeds(&reload(&world, &mut edge, &[]));
    assert!(is_served(&world), "an allow rule keeps them in");
    world.edge().write_config(node(origin.addr()).block("192.0.2.0/24"));
    succeeds(&reload(&world, &mut edge, &["--force"]));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    assert_eq!(edge.status()["daemon"]["problem"], serde_json::Value::Null);
    // It is not this change that cuts them off.
    world.edge().write_config(node(origin.addr()).block("192.0.2.0/24").block("192.0.2.66"));
    succeeds(&reload(&world, &mut edge, &[]));
}

#[test]
fn a_firewall_that_is_switched_on_is_a_change_of_rules() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(config().app("tcp/443").origin(origin.addr()).block("192.0.2.66"));
    world.edge().write_config(node(origin.addr()).block("192.0.2.66"));
    refused(&reload(&world, &mut edge, &[]), "block 192.0.2.66");
    assert!(is_served(&world));
}

#[test]
fn the_table_of_networks_tells_who_a_network_or_a_country_cuts_off() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let node = || node(origin.addr()).raw(GEO);
    let mut edge = world.edge().run(node());
    for target in ["FR", "AS64501"] {
        let rule = format!("block {target}");
        refused(&typed(world.edge(), &["rule", "create", "block", target]), &rule);
        world.edge().write_config(node().block(target));
        refused(&reload(&world, &mut edge, &[]), &rule);
        assert!(is_served(&world), "{target}");
    }
    succeeds(&typed(world.edge(), &["rule", "create", "block", "AT"]));
    // New data put the same address elsewhere.
    databases(world.edge(), "AT");
    world.edge().write_config(node());
    refused(&reload(&world, &mut edge, &[]), "block AT");
    assert!(is_served(&world));
    succeeds(&reload(&world, &mut edge, &["--force"]));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
}

#[test]
fn an_exception_that_keeps_its_maker_in_is_not_taken_away() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(node(origin.addr()));
    for arguments in [["rule", "create", "allow", "192.0.2.66"], ["rule", "create", "block", "192.0.2.0/24"]] {
        succeeds(&typed(world.edge(), &arguments));
    }
    refused(&typed(world.edge(), &["rule", "delete", "192.0.2.66"]), "block 192.0.2.0/24");
    refused(&typed(world.edge(), &["rule", "update", "192.0.2.66", "--mode", "block"]), "block 192.0.2.66");
    assert!(is_served(&world));
    succeeds(&typed(world.edge(), &["rule", "delete", "192.0.2.66", "--force"]));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
}

#[test]
fn load_and_run_in_a_shell_are_refused_before_they_touch_anything() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let path = world.edge().write_config(node(origin.addr()).block("192.0.2.0/24"));
    let path = path.to_str().unwrap();
    for verb in ["load", "run"] {
        refused(&typed(world.edge(), &[verb, "--config", path]), "block 192.0.2.0/24");
        before.assert_unchanged(world.edge());
    }
    succeeds(&typed(world.edge(), &["load", "--config", path, "--force"]));
    assert_eq!(world.client().knock_from(SHUNNED, at(EDGE, 443)), Knock::Silence);
    world.edge().spectrum_ok(&["unload"]);
    before.assert_unchanged(world.edge());
}

/// A signal says nothing of who sent it, but logind knows who is there.
#[test]
fn a_reload_by_a_signal_cuts_off_nobody_who_is_logged_in() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()));
    world.edge().namespace().run(|| {
        std::fs::create_dir_all("/run/systemd/sessions").unwrap();
        let session = "UID=0\nUSER=root\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=192.0.2.66\nSERVICE=sshd\n";
        std::fs::write("/run/systemd/sessions/7", session).unwrap();
    });
    edge.reload(node(origin.addr()).block("192.0.2.0/24"));
    assert!(is_served(&world));
    let printed = edge.process().printed();
    assert!(printed.contains("block 192.0.2.0/24 names 192.0.2.66, where somebody is logged"), "{printed}");
    world.edge().namespace().run(|| std::fs::remove_file("/run/systemd/sessions/7").unwrap());
    edge.reload(node(origin.addr()).block("192.0.2.0/24"));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence, "nobody is there any more");
}

#[test]
fn a_reload_tells_what_is_wrong_with_the_file_and_who_does_not_answer() {
    let world = World::new();
    let output = world.edge().spectrum(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no daemon of instance `default` answers"));
    let origin = world.origin().echo();
    let _edge = world.edge().run(node(origin.addr()));
    world.edge().write_config(node(origin.addr()).node("colour", "1"));
    let output = world.edge().spectrum(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("colour") && said.contains("spectrum.toml:") && said.contains("stays as it was"), "{said}");
    world.edge().write_config(node(origin.addr()).block("198.18.0.1"));
    let done = world.edge().spectrum_ok(&["reload"]);
    assert!(done.contains("is reloaded: revision 2"), "{done}");
    let done: serde_json::Value =
        serde_json::from_str(&world.edge().spectrum_ok(&["--output", "json", "reload"])).unwrap();
    assert_eq!(done["writes"], 0, "nothing to do: {done}");
}
