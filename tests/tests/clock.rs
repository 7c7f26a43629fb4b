//! Clocks that jump, and time that stands still: what is to end ends when the clock on the wall says so, and nothing else
//! takes notice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{process::Command, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, SHUNNED,
        client::Knock,
        config::Config,
        edge::Daemon,
        trafgen::{self, Flood},
    },
};

/// Where Debian has it, on every architecture.
const FAKETIME: &str = "libfaketime.so.1";

/// Starts the daemon with a wall clock that is as wrong as [`set_clock`] says; the clock of timers stays right.
fn run_by_another_clock<'world>(world: &'world World, node: &Config) -> Daemon<'world> {
    set_clock(world, "+0");
    let file = world.edge().write_config(node);
    let library = world.edge().stdout("sh", &["-c", &format!("find /usr/lib -name {FAKETIME} | head -n 1")]);
    assert!(!library.trim().is_empty(), "Debian's package libfaketime is missing");
    let mut edge = world.edge().start_command(|spectrum| {
        let mut command = Command::new(spectrum);
        command.args(["run", "--config"]).arg(file).env("LD_PRELOAD", library.trim());
        command.env("FAKETIME_TIMESTAMP_FILE", "/mnt/clock").env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        command
    });
    edge.await_ready();
    edge
}

fn set_clock(world: &World, offset: &str) {
    world.edge().namespace().write("clock", offset);
}

fn rules(world: &World) -> usize {
    let list: serde_json::Value =
        serde_json::from_str(&world.edge().spectrum_ok(&["--output", "json", "rule", "list"])).unwrap();
    list.as_array().unwrap().len()
}

fn node(origin: impl std::fmt::Display) -> Config {
    config().app("tcp/443").origin(origin).ip_firewall()
}

#[test]
fn a_rule_ends_at_its_time_by_the_wall_wherever_the_clock_came_from() {
    let world = World::new();
    let origin = world.origin().echo();
    let in_hours = |hours: u64| {
        let end = std::time::SystemTime::now() + Duration::from_hours(hours);
        humantime::format_rfc3339_seconds(end).to_string()
    };
    let written = node(origin.addr()).raw(&format!(
        "[[access_rules]]\nmode = \"block\"\nconfiguration = {{ target = \"ip\", value = \"{SHUNNED}\" }}\nexpires_on = \"{}\"\n",
        in_hours(3)
    ));
    let mut edge = run_by_another_clock(&world, &written);
    let create = |target: &str, end: &str| {
        world.edge().spectrum_ok(&["rule", "create", "block", target, "--expires-on", end]);
    };
    create(&CLIENT.to_string(), &in_hours(1));
    create("203.0.113.0/24", &in_hours(30 * 24));
    assert_eq!(world.client().knock_from(CLIENT, edge.at(443)), Knock::Silence);

    for earlier in ["-1d", "-3650d"] {
        set_clock(&world, earlier);
        wait::pause(Duration::from_secs(2));
        assert_eq!(rules(&world), 3, "{earlier}: nothing ends early");
    }
    edge.assert_idle();
    set_clock(&world, "+2h");
    wait::eventually("what was to end in an hour has ended", || (rules(&world) == 2).then_some(()));
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence, "there is an hour left");
    set_clock(&world, "+4h");
    wait::eventually("the file's rule has ended", || (rules(&world) == 1).then_some(()));
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");

    // It is made anew where the file still has it and the clock says that there is time.
    set_clock(&world, "+0");
    wait::pause(Duration::from_secs(2));
    assert_eq!(rules(&world), 1, "nothing comes back by itself");
    edge.reload(&written);
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    set_clock(&world, "+36500d");
    wait::eventually("a hundred years later nothing is left", || (rules(&world) == 0).then_some(()));
    edge.assert_idle();
    set_clock(&world, "+0");
    create(&SHUNNED.to_string(), &in_hours(1));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    assert!(edge.terminate().success());
}

#[test]
fn thousands_of_rules_that_end_at_one_jump_hold_up_nobody() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut app = node(origin.addr());
    for i in 0..20_000 {
        app = app.raw(&format!(
            "[[access_rules]]\nmode = \"block\"\nconfiguration = {{ target = \"ip\", value = \"10.{}.{}.1\" }}\nexpires_on = \"2090-01-01T00:00:00Z\"\n",
            i / 256,
            i % 256
        ));
    }
    let mut edge = run_by_another_clock(&world, &app);
    assert_eq!(edge.status()["kernel"]["entries"]["rules_v4"], 20_000);
    set_clock(&world, "+36500d");
    wait::eventually("they have ended", || (edge.status()["kernel"]["entries"]["rules_v4"] == 0).then_some(()));
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    assert!(edge.terminate().success());
}

#[test]
fn the_protected_mode_goes_by_no_clock_that_jumps() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let edge = run_by_another_clock(&world, &node(origin.addr()));
    for offset in ["-3650d", "+36500d", "+0"] {
        set_clock(&world, offset);
        wait::pause(Duration::from_millis(1500));
        assert!(!edge.is_protected(), "{offset}: a jump is no flood");
    }
    let syn = trafgen::syns_to(443);
    let flood = Flood::of(&world, &syn, 12_000);
    wait::eventually("the flood is seen", || edge.is_protected().then_some(()));
    for offset in ["+36500d", "-3650d", "+0"] {
        set_clock(&world, offset);
        wait::pause(Duration::from_millis(1500));
        assert!(edge.is_protected(), "{offset}: the flood goes on");
        assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    }
    drop(flood);
}

/// As after a suspend: the daemon has not run, the clock on the wall has.
#[test]
fn a_daemon_that_was_stopped_makes_up_for_it_at_once() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()));
    world.edge().spectrum_ok(&["rule", "create", "block", &SHUNNED.to_string(), "--expires-in", "2s"]);
    let signal = |signal| kill(Pid::from_raw(edge.pid().try_into().unwrap()), signal).unwrap();
    signal(Signal::SIGSTOP);
    wait::pause(Duration::from_secs(4));
    signal(Signal::SIGCONT);
    wait::eventually("the rule has ended", || (rules(&world) == 0).then_some(()));
    assert!(!edge.is_protected());
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    edge.assert_idle();
    assert!(edge.terminate().success());
}

/// A container may have a clock of its own for everything but packets: `bpf_ktime_get_ns` knows no time namespaces.
#[test]
fn samples_and_rules_are_right_where_the_clock_of_timers_is_another() {
    for offset in ["10000000", "-20"] {
        let world = World::new();
        let origin = world.origin().echo();
        let file = world.edge().write_config(node(origin.addr()).block(&SHUNNED.to_string()));
        let mut edge = world.edge().start_command(|spectrum| {
            let mut command = Command::new("unshare");
            command.args(["--time", "--monotonic", offset, "--fork", "--kill-child=SIGKILL"]);
            command.arg(spectrum).args(["run", "--config"]).arg(file);
            command
        });
        edge.await_ready();
        let mut events = Command::new(spectrum_tests::world::edge::binary());
        events.args(["events", "-f", "--count", "1", "--reason", "blocked", "--output", "json"]);
        events.stdout(std::process::Stdio::piped());
        let mut events = world.edge().namespace().start(events);
        let seen = wait::within(wait::DEADLINE, || {
            assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
            events.try_wait().unwrap()
        });
        if seen.is_none() {
            events.kill().unwrap();
        }
        let output = events.wait_with_output().unwrap();
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{offset}: no sample: {error}: {}", String::from_utf8_lossy(&output.stdout))
        });
        let at = humantime::parse_rfc3339(line["Timestamp"].as_str().unwrap()).unwrap();
        let away = at.elapsed().unwrap_or_else(|error| error.duration());
        assert!(away < Duration::from_secs(30), "{offset}: {line}");
        world.edge().spectrum_ok(&["rule", "create", "block", &CLIENT.to_string(), "--expires-in", "2s"]);
        wait::eventually("the rule has ended", || (rules(&world) == 1).then_some(()));
        assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    }
}
