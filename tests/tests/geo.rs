//! Who may reach an application, by the network and country that databases give to an address.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use spectrum_tests::{
    World, config,
    world::{
        CLIENT, CLIENT_V6, EDGE, EDGE_V6, SHUNNED, SHUNNED_V6,
        client::Knock,
        config::Config,
        databases::{GEO, databases},
        edge::Daemon,
    },
};

fn node(origin: impl std::fmt::Display) -> Config {
    config().raw(GEO).app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin).ip_firewall()
}

fn assert_shunned(world: &World, edge: &Daemon<'_>) {
    for (shunned, other, to) in [(SHUNNED, CLIENT, edge.at(443)), (SHUNNED_V6, CLIENT_V6, edge.at_v6(443))] {
        let blocked = edge.counter("blocked");
        assert_eq!(world.client().knock_from(shunned, to), Knock::Silence, "{shunned}");
        assert!(edge.counter("blocked") > blocked, "{shunned}");
        assert_eq!(world.client().ask_from(other, to, b"hi"), b"hi", "{other}");
    }
}

#[test]
fn a_country_or_a_network_is_blocked_in_both_families() {
    for (target, memory) in [("FR", "compact"), ("AS64501", "full")] {
        let world = World::new();
        databases(world.edge(), "FR");
        let origin = world.origin().echo();
        let config = String::from(node(origin.addr()).block(target)) + &format!("{GEO}memory = \"{memory}\"\n");
        let config = config.replacen(GEO, "", 1);
        let edge = world.edge().run(config);
        assert_shunned(&world, &edge);

        let why = world.edge().spectrum_ok(&["why", &SHUNNED.to_string(), "--to", &edge.at(443).to_string()]);
        assert!(why.contains("AS64501, country FR"), "{why}");
        assert!(why.contains(&format!("block {target} of scope user")), "{why}");

        let geo = &edge.status()["daemon"]["geo"];
        assert_eq!(geo["databases"][0]["file"], "/mnt/country.mmdb");
        assert_eq!(geo["databases"][1]["networks"], 4);
        assert_eq!((&geo["problem"], &geo["memory"]), (&serde_json::Value::Null, &memory.into()));
        let kernel = &edge.status()["kernel"]["geo"];
        assert_eq!((&kernel["ranges_v4"], &kernel["bytes"]), (&geo["ranges_v4"], &geo["bytes"]));
        let text = world.edge().spectrum_ok(&["status"]);
        assert!(text.contains("country database: /mnt/country.mmdb (Test-Database), 4 networks, built 20"), "{text}");
    }
}

#[test]
fn an_allowed_country_beats_a_blocked_address_and_a_zones_rule_is_the_zones() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()).block("192.0.2.0/24").allow("FR"));
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    assert_eq!(world.client().knock_from(CLIENT, edge.at(443)), Knock::Silence);
    edge.reload(node(origin.addr()).block_in_zone("FR"));
    assert_shunned(&world, &edge);
}

#[test]
fn events_tell_network_and_country_and_the_backstop_refuses_by_them() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let config =
        node(origin.addr()).node("xdp_mode", "\"off\"").block("FR").raw("[events]\nfile = \"/mnt/events.jsonl\"\n");
    let edge = world.edge().run(config);
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
    let refused = world.client().try_ask(Some(SHUNNED), edge.at(443), b"hi").unwrap_or_default();
    assert_eq!(refused, b"");
    let told = |event: &str| {
        spectrum_tests::wait::eventually(event, || {
            let text = world.edge().namespace().run(|| fs::read_to_string("/mnt/events.jsonl").unwrap_or_default());
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            lines.rfind(|line| line["Event"] == event)
        })
    };
    let filtered = told("clientFiltered");
    assert_eq!((&filtered["ClientAsn"], &filtered["ClientCountry"]), (&64501.into(), &"FR".into()));
    assert_eq!(filtered["ClientMatchedIpFirewall"], "BLOCK_COUNTRY");
    let served = told("disconnect");
    assert_eq!((&served["ClientAsn"], &served["ClientCountry"]), (&64500.into(), &"DE".into()));
}

#[test]
fn a_new_database_is_in_use_after_a_reload_and_ends_connections_that_it_blocks() {
    let world = World::new();
    databases(world.edge(), "DE");
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()).block("FR"));
    let mut connections = [SHUNNED, CLIENT].map(|source| world.client().connect_from(source, edge.at(443)).unwrap());
    for connection in &mut connections {
        connection.write_all(b"?").unwrap();
        connection.read_exact(&mut [0]).unwrap();
    }
    let before = edge.status()["daemon"]["geo"]["databases"][0]["loaded"].clone();
    spectrum_tests::wait::pause(Duration::from_millis(1100));
    edge.reload(node(origin.addr()).block("FR").block("ES"));
    assert_eq!(edge.status()["daemon"]["geo"]["databases"][0]["loaded"], before, "the same file is not read again");

    databases(world.edge(), "FR");
    edge.reload(node(origin.addr()).block("FR"));
    assert_ne!(edge.status()["daemon"]["geo"]["databases"][0]["loaded"], before);
    let [mut shunned, mut other] = connections;
    assert_eq!(shunned.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    other.write_all(b"!").unwrap();
    other.read_exact(&mut [0]).unwrap();
    assert_shunned(&world, &edge);

    edge.reload(config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin.addr()).ip_firewall());
    assert_eq!(edge.status()["daemon"]["geo"], serde_json::Value::Null);
    assert_eq!(edge.status()["kernel"]["geo"], serde_json::Value::Null, "the kernel's table is gone too");
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
}

#[test]
fn a_damaged_new_database_leaves_the_old_one_in_use_and_everything_else_changes() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()).block("FR"));
    let whole = world.edge().namespace().run(|| fs::read("/mnt/country.mmdb").unwrap());
    for damaged in [Vec::new(), whole[..whole.len() / 2].to_vec(), b"<html>quota exceeded</html>".to_vec()] {
        world.edge().namespace().write("country.mmdb", damaged);
        edge.reload(node(origin.addr()).block("FR").app("tcp/444").origin(origin.addr()));
        assert_shunned(&world, &edge);
        assert_eq!(world.client().ask_from(SHUNNED, edge.at(444), b"hi"), b"hi", "the new application is served");
        let problem = edge.status()["daemon"]["geo"]["problem"].as_str().unwrap().to_owned();
        assert!(problem.starts_with("/mnt/country.mmdb"), "{problem}");
        edge.reload(node(origin.addr()).block("FR"));
    }
    world.edge().namespace().run(|| fs::remove_file("/mnt/country.mmdb").unwrap());
    edge.reload(node(origin.addr()).block("FR"));
    assert_shunned(&world, &edge);
    assert!(edge.status()["daemon"]["geo"]["problem"].as_str().unwrap().contains("No such file"));
    databases(world.edge(), "FR");
    edge.reload(node(origin.addr()).block("FR"));
    assert_eq!(edge.status()["daemon"]["geo"]["problem"], serde_json::Value::Null);
    assert_shunned(&world, &edge);
}

#[test]
fn a_database_that_is_missing_at_the_start_is_an_error_of_the_file() {
    let world = World::new();
    databases(world.edge(), "FR");
    world.edge().namespace().run(|| fs::remove_file("/mnt/asn.mmdb").unwrap());
    let origin = world.origin().echo();
    for verb in ["check", "run", "load"] {
        let output = world.edge().spectrum_with(verb, node(origin.addr()));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{verb}: {error}");
        assert!(error.contains("/mnt/asn.mmdb cannot be read: No such file"), "{verb}: {error}");
        assert!(error.contains("asn = \"/mnt/asn.mmdb\""), "{verb}: shows the place: {error}");
    }
}

#[test]
fn files_that_are_written_while_they_are_read_never_make_a_third_answer() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()).block("FR"));
    let whole = world.edge().namespace().run(|| fs::read("/mnt/country.mmdb").unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let write = move || {
        let mut cut = 0;
        while !stopped.load(Ordering::Relaxed) {
            // In place, in pieces, as a download does that nobody should let write there.
            cut = (cut + 97) % whole.len();
            let (first, second) = whole.split_at(cut);
            let mut file = fs::File::create("/mnt/country.mmdb").unwrap();
            file.write_all(first).unwrap();
            thread::yield_now();
            file.write_all(second).unwrap();
        }
    };
    // A thread sees the files of the one that started it.
    let writer = world.edge().namespace().run(|| thread::spawn(write));
    for _ in 0..10 {
        edge.reload(node(origin.addr()).block("FR"));
        assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
        assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn without_a_daemon_the_table_stays_and_is_told() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let output = world.edge().spectrum_with("load", node(origin.addr()).block("FR"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("/mnt/country.mmdb: 4 networks"), "{told}");
    let to = format!("{EDGE}:443");
    let why = world.edge().spectrum_ok(&["why", &SHUNNED.to_string(), "--to", &to]);
    assert!(why.contains("drop (blocked)") && why.contains("country FR"), "{why}");
    assert_eq!(world.client().knock_from(SHUNNED, to.parse().unwrap()), Knock::Silence);
    world.edge().spectrum_ok(&["unload"]);
}

#[test]
fn rules_by_network_and_country_can_be_made_while_the_daemon_runs() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let edge = world.edge().run(node(origin.addr()));
    for target in ["FR", "AS64501"] {
        assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
        world.edge().spectrum_ok(&["rule", "create", "block", target]);
        assert_shunned(&world, &edge);
        world.edge().spectrum_ok(&["rule", "delete", target]);
    }
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
}

#[test]
fn a_database_that_operators_rules_need_is_not_taken_away_by_a_reload() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()));
    world.edge().spectrum_ok(&["rule", "create", "block", "FR"]);
    let without = || config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin.addr()).ip_firewall();
    let asn_alone = || without().raw("[geo]\nasn = \"/mnt/asn.mmdb\"\n");
    for file in [without(), asn_alone()] {
        world.edge().write_config(file);
        let output = world.edge().spectrum(&["reload"]);
        edge.await_ready();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("block FR") && said.contains("[geo]") && said.contains("rule delete"), "{said}");
        assert_shunned(&world, &edge);
    }
    world.edge().spectrum_ok(&["rule", "delete", "FR"]);
    world.edge().spectrum_ok(&["rule", "create", "block", "AS64501"]);
    edge.reload(asn_alone());
    assert_eq!(edge.status()["daemon"]["problem"], serde_json::Value::Null, "what is left is asked of what is left");
    assert_shunned(&world, &edge);
}

#[test]
fn a_kept_rule_without_its_database_is_told_and_comes_back_with_it() {
    let world = World::new();
    databases(world.edge(), "FR");
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()));
    for target in ["FR", "AS64501", "192.0.2.200"] {
        world.edge().spectrum_ok(&["rule", "create", "block", target]);
    }
    assert!(edge.terminate().success());
    let without = config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin.addr()).ip_firewall();
    let mut edge = world.edge().run(without);
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    let status = edge.status();
    assert_eq!(status["daemon"]["rules"]["operator"], 1, "{status}");
    assert_eq!(status["daemon"]["left_out"].as_array().unwrap().len(), 2, "{status}");
    let text = world.edge().spectrum_ok(&["status"]);
    assert!(text.contains("rule block FR is not in force: nothing tells which addresses are of FR"), "{text}");
    // It is not lost when the rules are written anew, and can be taken away for good.
    world.edge().spectrum_ok(&["rule", "create", "block", "192.0.2.201"]);
    let id = text.lines().find(|line| line.contains("AS64501")).unwrap().rsplit_once("(rule ").unwrap().1;
    world.edge().spectrum_ok(&["rule", "delete", id.trim_end_matches(')')]);
    edge.reload(node(origin.addr()));
    assert_shunned(&world, &edge);
    assert!(edge.status()["daemon"]["left_out"].as_array().unwrap().is_empty());
    assert!(edge.terminate().success());
    let edge = world.edge().run(node(origin.addr()));
    assert_shunned(&world, &edge);
    let list = world.edge().spectrum_ok(&["rule", "list"]);
    assert!(list.contains("FR") && list.contains("192.0.2.201") && !list.contains("AS64501"), "{list}");
}
