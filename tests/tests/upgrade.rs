//! Another program takes over while clients come and go: none of them notices.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, EDGE_OTHER, ORIGIN, SHUNNED,
        client::Knock,
        config::Config,
        edge::at,
        lineage::Lineage,
        load::Load,
        process::Process,
        trafgen::{self, Flood},
    },
};

/// Longer than any connection of these tests.
const GRACE: &str = "\"10s\"";

fn node(origin: SocketAddr) -> Config {
    config().node("drain", GRACE).app("tcp/443").origin(origin)
}

#[test]
fn a_hundred_upgrades_in_a_row_refuse_and_reset_nobody() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let mut edge = Lineage::start(world.edge(), node(origin.addr()));
    let short = Load::begin(world.client(), at(EDGE, 443), 3, Duration::ZERO);
    let lasting = Load::begin(world.client(), at(EDGE, 443), 3, Duration::from_secs(2));
    let (descriptors, memory) = (edge.descriptors(), edge.memory_kib());
    for _ in 0..100 {
        edge.upgrade();
    }
    short.goes_on();
    short.end().assert_all_answered();
    lasting.end().assert_all_answered();
    edge.await_alone();
    let (more_descriptors, more_memory) =
        (edge.descriptors().saturating_sub(descriptors), edge.memory_kib().saturating_sub(memory));
    assert!(more_descriptors < 8, "{more_descriptors} descriptors more than at the beginning");
    assert!(more_memory < 16 << 10, "{more_memory} KiB more than at the beginning");
    edge.terminate();
    before.assert_unchanged(world.edge());
}

#[test]
fn an_open_connection_goes_on_in_the_predecessor_until_its_drain_is_over() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = Lineage::start(world.edge(), node(origin.addr()).node("drain", "\"3s\""));
    let mut open = world.client().connect(at(EDGE, 443)).unwrap();
    let mut asks = |question: &[u8; 1]| {
        let mut answer = [0];
        open.write_all(question).and_then(|()| open.read_exact(&mut answer)).map(|()| answer)
    };
    assert_eq!(asks(b"?").unwrap(), *b"?");
    edge.upgrade();
    assert_eq!(asks(b"!").unwrap(), *b"!");
    wait::eventually("the successor knows of it", || {
        let predecessors = world.edge().status()["daemon"]["predecessors"].clone();
        (predecessors[0]["connections"] == 1).then_some(())
    });
    wait::eventually("it is cut", || asks(b".").is_err().then_some(()));
    edge.await_alone();
    wait::eventually("the successor knows that it has gone", || {
        (world.edge().status()["daemon"]["predecessors"] == serde_json::json!([])).then_some(())
    });
    assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
}

#[test]
fn an_upgrade_takes_the_file_as_it_is_now_with_more_workers_or_fewer() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = Lineage::start(world.edge(), node(origin.addr()));
    let load = Load::begin(world.client(), at(EDGE, 443), 4, Duration::ZERO);
    for workers in ["5", "1", "3"] {
        let file = node(origin.addr()).node("workers", workers).app("tcp/8443").on(&[EDGE_OTHER]).origin(origin.addr());
        world.edge().write_config(file);
        edge.upgrade();
        load.goes_on();
        assert_eq!(world.client().ask(at(EDGE_OTHER, 8443), b"hi"), b"hi", "{workers}");
    }
    load.end().assert_all_answered();
}

#[test]
fn rules_that_were_made_meanwhile_and_their_authors_outlive_an_upgrade() {
    let world = World::new();
    let origin = world.origin().echo();
    let file = node(origin.addr()).ip_firewall().raw("[metrics]\nlisten = \"127.0.0.1:9464\"\n");
    let mut edge = Lineage::start(world.edge(), file);
    world.edge().spectrum_ok(&["rule", "create", "block", &SHUNNED.to_string()]);
    edge.upgrade();
    assert_eq!(world.client().knock_from(SHUNNED, at(EDGE, 443)), Knock::Silence);
    assert_eq!(world.client().ask_from(CLIENT, at(EDGE, 443), b"hi"), b"hi");
    let list = world.edge().spectrum_ok(&["rule", "list"]);
    assert!(list.contains("operator"), "{list}");
    // And the listener for metrics is the same one.
    let ready = world.edge().stdout("curl", &["--silent", "--fail", "http://127.0.0.1:9464/readyz"]);
    assert_eq!(ready, "ready\n");
    world.edge().spectrum_ok(&["rule", "delete", &SHUNNED.to_string()]);
    assert_eq!(world.client().ask_from(SHUNNED, at(EDGE, 443), b"hi"), b"hi");
}

#[test]
fn an_origin_that_is_down_is_not_tried_anew_by_each_successor() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = Lineage::start(world.edge(), node(at(ORIGIN, 9)).origin(origin.addr()));
    let down = || {
        let origins = world.edge().status()["daemon"]["applications"][0]["origins"].clone();
        origins.as_array().unwrap().iter().filter(|origin| origin["up"] == false).count()
    };
    wait::eventually("it is left out", || {
        assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
        (down() == 1).then_some(())
    });
    edge.upgrade();
    assert_eq!(down(), 1);
    assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
}

#[test]
fn a_flood_does_not_end_with_an_upgrade() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let mut edge = Lineage::start(world.edge(), node(origin.addr()));
    let protected = || world.edge().status()["daemon"]["protection"].is_object();
    let flood = Flood::start(&world, &[&trafgen::syns_to(443)], 300_000, 12_000);
    wait::eventually("it protects", || protected().then_some(()));
    edge.upgrade();
    let cookies = || world.edge().stdout("sysctl", &["--values", "net.ipv4.tcp_syncookies"]);
    assert_eq!(cookies(), "2\n");
    // Longer than it takes to look at floods, and to begin with nothing known.
    let unprotected = wait::within(Duration::from_secs(2), || (cookies() != "2\n").then_some(()));
    assert_eq!(unprotected, None, "it let go in between");
    wait::eventually("the successor tells of it", || protected().then_some(()));
    assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
    drop(flood);
    edge.terminate();
    before.assert_unchanged(world.edge());
}

#[test]
fn whoever_follows_events_is_led_to_the_successor() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = Lineage::start(world.edge(), node(origin.addr()));
    let mut command = std::process::Command::new(spectrum_tests::world::edge::binary());
    command.args(["events", "-f", "--output", "json"]);
    let mut events = Process::start(world.edge().namespace(), "events", command);
    let ask = |events: &mut Process, since: usize| {
        wait::eventually("its events are there", || {
            world.client().ask(at(EDGE, 443), b"hi");
            events.must_run();
            let count = events.printed().matches("\"disconnect\"").count();
            (count > since).then_some(count)
        })
    };
    let seen = ask(&mut events, 0);
    edge.upgrade();
    events.await_line("has taken over");
    ask(&mut events, seen);
}

/// What stands where the daemon was started from, and what `spectrum upgrade` says of it.
#[test]
fn what_cannot_take_over_changes_nothing() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let good = node(origin.addr());
    let edge = Lineage::start(world.edge(), &good);
    let load = Load::begin(world.client(), at(EDGE, 443), 2, Duration::from_millis(500));
    let script = |name: &'static str, mode: u32, text: &'static str| {
        let path = world.edge().namespace().write(name, text);
        let path = path.to_str().unwrap().to_owned();
        world.edge().stdout("chmod", &[&format!("{mode:o}"), &path]);
        path
    };
    let refused = |arguments: &[&str], words: &str| {
        let output = edge.try_upgrade(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words) && stderr.contains("not upgraded"), "{arguments:?}: {stderr}");
        load.goes_on();
        assert_eq!(edge.processes(), [edge.pid()], "{arguments:?}");
        assert!(world.edge().spectrum(&["status"]).status.success(), "{arguments:?}");
    };
    refused(&["--binary", "/nowhere/spectrum"], "No such file");
    refused(&["--binary", "spectrum"], "not an absolute path");
    let plain = script("plain", 0o644, "#!/bin/sh\n");
    refused(&["--binary", &plain], "Permission denied");
    let nonsense = script("nonsense", 0o755, "\x7fELF nonsense");
    refused(&["--binary", &nonsense], "ended before it served");
    let quits = script("quits", 0o755, "#!/bin/sh\nexit 3\n");
    refused(&["--binary", &quits], "ended before it served");
    let hangs = script("hangs", 0o755, "#!/bin/sh\nexec sleep 1000\n");
    refused(&["--binary", &hangs], "says nothing");
    for (bad, words) in [
        (good.clone().app("tcp/bad").origin(origin.addr()), "`bad` is not a port"),
        (good.clone().node("interfaces", "[\"nowhere0\"]"), "nowhere0"),
        (good.clone().node("instance", "\"other\""), "cannot change in an upgrade"),
        (good.clone().raw("[metrics]\nlisten = \"203.0.113.99:1\"\n"), "for metrics"),
    ] {
        world.edge().write_config(bad);
        refused(&[], words);
    }
    world.edge().write_config(&good);
    world.edge().spectrum_ok(&["reload"]);
    load.end().assert_all_answered();
    edge.terminate();
    before.assert_unchanged(world.edge());
}

#[test]
fn a_file_that_cuts_off_who_asks_is_refused_whoever_started_the_first_process() {
    let world = World::new();
    let origin = world.origin().echo();
    let shell = format!("SSH_CONNECTION='{SHUNNED} 50000 192.0.2.1 22'");
    let script = format!("#!/bin/sh\n{shell} exec {} \"$@\"\n", spectrum_tests::world::edge::binary().display());
    let script = world.edge().namespace().write("shell", script);
    world.edge().stdout("chmod", &["755", script.to_str().unwrap()]);
    let file = node(origin.addr()).ip_firewall();
    let mut edge = Lineage::start_at(world.edge(), &script, &file);
    let typed = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&script);
        command.args(arguments).env_remove("NOTIFY_SOCKET");
        world.edge().namespace().output(command)
    };
    let blocking = file.block(&SHUNNED.to_string());
    world.edge().write_config(&blocking);
    let refused = typed(&["upgrade"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("not upgraded") && said.contains("cut off") && said.contains("--force"), "{said}");
    assert_eq!(world.client().ask_from(SHUNNED, at(EDGE, 443), b"hi"), b"hi");
    assert!(typed(&["upgrade", "--force"]).status.success());
    edge.await_successor();
    assert_eq!(world.client().knock_from(SHUNNED, at(EDGE, 443)), Knock::Silence);
    // It is not this file that cuts them off, and what they left in the environment of the first process says nothing.
    assert!(typed(&["upgrade"]).status.success());
    edge.await_successor();
    edge.upgrade();
}

/// As a container runs it: what outlived it would be killed by the kernel when it has drained.
#[test]
fn the_first_process_of_a_container_refuses_to_hand_over() {
    let world = World::new();
    let origin = world.origin().echo();
    let file = world.edge().write_config(node(origin.addr()));
    let (binary, file) = (spectrum_tests::world::edge::binary(), file.to_str().unwrap().to_owned());
    let arguments = ["run", "--config", &*file];
    let _daemon = Process::service(world.edge().namespace(), "spectrum", binary.to_str().unwrap(), &arguments);
    wait::eventually("it serves", || world.edge().spectrum(&["status"]).status.success().then_some(()));
    let refused = world.edge().spectrum(&["upgrade"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("not upgraded") && stderr.contains("--init"), "{stderr}");
    assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
}

/// `kill -9` of the one or the other, at every moment of an upgrade.
#[test]
fn whoever_is_killed_in_an_upgrade_the_other_serves() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    for milliseconds in [0, 20, 60, 120, 200, 300, 400, 550, 700] {
        for victim in ["predecessor", "successor"] {
            let moment = format!("the {victim} after {milliseconds} ms");
            let edge = Lineage::start(world.edge(), node(origin.addr()));
            let first = edge.pid();
            let upgrade = world.edge().start_spectrum(&["upgrade"]);
            wait::pause(Duration::from_millis(milliseconds));
            let victims = edge.processes().into_iter().filter(|pid| (*pid == first) == (victim == "predecessor"));
            victims.for_each(spectrum_tests::world::lineage::kill_if_there);
            let done = upgrade.wait_with_output().unwrap().status.success();
            if victim == "successor" && done {
                // It had taken over before it was killed: as any other crash.
                edge.terminate_all();
                continue;
            }
            wait::eventually(&moment, || {
                let answer = world.client().try_ask(None, at(EDGE, 443), b"hi").ok();
                let gone = edge.processes().is_empty();
                (answer.as_deref() == Some(b"hi") || gone).then_some(())
            });
            if edge.processes().is_empty() {
                // Killed before there was a successor: nothing is stuck.
                drop(edge);
                let edge = Lineage::start(world.edge(), node(origin.addr()));
                assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi", "{moment}");
                edge.terminate();
                continue;
            }
            wait::eventually(&moment, || world.edge().spectrum(&["status"]).status.success().then_some(()));
            edge.terminate_all();
            before.assert_unchanged(world.edge());
        }
        world.edge().spectrum(&["unload"]);
    }
    before.assert_unchanged(world.edge());
}

#[test]
fn a_stop_in_an_upgrade_stops_both() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let edge = Lineage::start(world.edge(), node(origin.addr()));
    let upgrade = world.edge().start_spectrum(&["upgrade"]);
    wait::eventually("a successor is there", || (edge.processes().len() == 2).then_some(()));
    edge.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(!upgrade.wait_with_output().unwrap().status.success());
    edge.await_end();
    before.assert_unchanged(world.edge());
}

#[test]
fn a_change_in_an_upgrade_is_refused_in_words() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = Lineage::start(world.edge(), node(origin.addr()));
    let path = world.edge().namespace().write("hangs", "#!/bin/sh\nexec sleep 1000\n");
    let path = path.to_str().unwrap();
    world.edge().stdout("chmod", &["755", path]);
    let upgrade = world.edge().start_spectrum(&["upgrade", "--binary", path]);
    for arguments in [&["reload"][..], &["rule", "create", "block", "203.0.113.9"], &["upgrade"]] {
        wait::eventually("it is refused", || {
            let output = world.edge().spectrum(arguments);
            String::from_utf8_lossy(&output.stderr).contains("an upgrade is under way").then_some(())
        });
    }
    assert_eq!(upgrade.wait_with_output().unwrap().status.code(), Some(1));
    world.edge().spectrum_ok(&["rule", "create", "block", "203.0.113.9"]);
    drop(edge);
}

/// As a package manager does it: another file under the same name, while the old one runs.
#[test]
fn the_file_that_replaced_the_one_that_runs_is_started() {
    let world = World::new();
    let origin = world.origin().echo();
    let binary = spectrum_tests::world::edge::binary();
    let place = std::path::Path::new("/mnt/spectrum");
    let copy = |to: &'static str| {
        let from = binary.clone();
        world.edge().namespace().run(move || fs::copy(from, to).unwrap());
    };
    copy("/mnt/spectrum");
    let mut edge = Lineage::start_at(world.edge(), place, node(origin.addr()));
    copy("/mnt/spectrum.new");
    world.edge().namespace().run(|| fs::rename("/mnt/spectrum.new", "/mnt/spectrum").unwrap());
    let runs = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).unwrap().display().to_string();
    assert!(runs(edge.pid()).ends_with("(deleted)"));
    edge.upgrade();
    assert!(!runs(edge.pid()).ends_with("(deleted)"));
    assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
}
