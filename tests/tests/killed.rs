//! `kill -9` in the middle of things: what there is afterwards is whole, the next start takes it over, and `unload` takes
//! all of it away.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use nix::sys::signal::Signal;
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, SHUNNED,
        client::Knock,
        config::Config,
        databases::{GEO, databases},
        edge::{Daemon, binary},
        trafgen::{self, Flood},
    },
};

fn node(origin: impl std::fmt::Display) -> Config {
    config().app("tcp/443").origin(origin).ip_firewall().block(&SHUNNED.to_string())
}

/// A file that takes a while to bring about; `other` of them differ in every rule.
fn long(origin: impl std::fmt::Display, other: u8) -> String {
    (0..4_000).fold(node(origin), |file, i| file.block(&format!("10.{other}.{}.{}", i / 250, i % 250))).into()
}

/// Whatever was done by half, a blocked source is blocked, and everybody else is refused or served, never let past.
fn filters(world: &World, edge: &Daemon<'_>) {
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    assert_eq!(world.client().knock_from(CLIENT, edge.at(443)), Knock::Refused);
}

#[test]
fn in_a_flood() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let mut edge = world.edge().run(node(origin.addr()));
    let syn = trafgen::syns_to(443);
    let flood = Flood::of(&world, &syn, 12_000);
    wait::eventually("the flood is seen", || edge.is_protected().then_some(()));
    edge.kill();
    // Nobody listens any more, so nobody is asked for: it is refused, and reaches no socket of the host.
    let refused = world.edge().counter("no_listener");
    wait::eventually("the flood goes on", || (world.edge().counter("no_listener") > refused + 1000).then_some(()));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    world.edge().spectrum_ok(&["unload"]);
    before.assert_unchanged(world.edge());

    // And once more: what it left is taken over in the flood, and taken away by an orderly end.
    let mut edge = world.edge().run(node(origin.addr()));
    wait::eventually("the flood is seen", || edge.is_protected().then_some(()));
    edge.kill();
    let mut edge = world.edge().run(node(origin.addr()));
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    wait::eventually("the flood is seen by the next one", || edge.is_protected().then_some(()));
    assert!(edge.terminate().success());
    drop(flood);
    before.assert_unchanged(world.edge());
}

#[test]
fn early_in_a_reload() {
    in_a_reload(&[0, 10, 30]);
}

#[test]
fn late_in_a_reload() {
    in_a_reload(&[60, 100, 160, 250]);
}

fn in_a_reload(moments: &[u64]) {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    for (turn, &milliseconds) in moments.iter().enumerate() {
        let mut edge = world.edge().run(long(origin.addr(), 1));
        world.edge().write_config(long(origin.addr(), 2));
        edge.process().signal(Signal::SIGHUP);
        wait::pause(Duration::from_millis(milliseconds));
        edge.kill();
        filters(&world, &edge);
        if turn % 2 == 0 {
            let mut edge = world.edge().run(long(origin.addr(), 2));
            assert_eq!(edge.status()["kernel"]["entries"]["rules_v4"], 4_001, "{milliseconds} ms");
            assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
            edge.kill();
        }
        world.edge().spectrum_ok(&["unload"]);
        before.assert_unchanged(world.edge());
    }
}

#[test]
fn early_while_the_table_of_networks_is_loaded() {
    while_the_table_is_loaded(&[0, 10, 30]);
}

#[test]
fn late_while_the_table_of_networks_is_loaded() {
    while_the_table_is_loaded(&[60, 120, 250]);
}

fn while_the_table_is_loaded(moments: &[u64]) {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let file = |memory: &str| {
        let geo = format!("{GEO}memory = \"{memory}\"\n");
        config().app("tcp/443").origin(origin.addr()).ip_firewall().block("FR").raw(&geo)
    };
    for (turn, &milliseconds) in moments.iter().enumerate() {
        databases(world.edge(), "FR");
        let mut edge = world.edge().run(file("compact"));
        // Another table, in another shape, with the same country for the one who is blocked.
        databases(world.edge(), "FR");
        world.edge().write_config(file("full"));
        edge.process().signal(Signal::SIGHUP);
        wait::pause(Duration::from_millis(milliseconds));
        edge.kill();
        filters(&world, &edge);
        if turn % 2 == 0 {
            let mut edge = world.edge().run(file("full"));
            assert_eq!(edge.status()["daemon"]["geo"]["memory"], "full", "{milliseconds} ms");
            assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
            assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
            edge.kill();
        }
        world.edge().spectrum_ok(&["unload"]);
        before.assert_unchanged(world.edge());
    }
}

#[test]
fn while_rules_are_made() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let mut kept = 0;
    let turns = [30, 100, 300, 700];
    for (turn, milliseconds) in turns.into_iter().enumerate() {
        let mut edge = world.edge().run(node(origin.addr()));
        let (done, pid, namespace) = (AtomicUsize::new(0), edge.pid(), world.edge().namespace());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..250 {
                    let mut command = Command::new(binary());
                    command.args(["rule", "create", "block", &format!("10.{turn}.0.{i}")]);
                    if !namespace.output(command).status.success() {
                        break;
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
            wait::pause(Duration::from_millis(milliseconds));
            if turn + 1 == turns.len() {
                wait::eventually("one is made", || (done.load(Ordering::SeqCst) > 0).then_some(()));
            }
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
        });
        edge.kill();
        filters(&world, &edge);
        let mut edge = world.edge().run(node(origin.addr()));
        let there = edge.status()["daemon"]["rules"]["operator"].as_u64().unwrap();
        let told = kept + done.load(Ordering::SeqCst) as u64;
        // One more may have been written before its maker was told.
        assert!(there == told || there == told + 1, "{there} rules are there, {told} were told of");
        assert_eq!(edge.status()["kernel"]["entries"]["rules_v4"], there + 1);
        kept = there;
        edge.kill();
        world.edge().spectrum_ok(&["unload"]);
        before.assert_unchanged(world.edge());
        let left = world.edge().namespace().run(|| {
            // None where no rule had been kept yet.
            let names = fs::read_dir("/var/lib/spectrum").into_iter().flatten();
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        });
        let expected = |name: &String| ["rules.json", "rules.json.last", ".rules.json.new"].contains(&name.as_str());
        assert!(left.iter().all(expected), "{left:?}");
    }
    assert!(kept > 0);
}
