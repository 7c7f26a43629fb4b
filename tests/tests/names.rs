//! Origins by name: changes are followed, records mean what they say, and nobody is asked without end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config, wait,
    world::{
        EDGE, ORIGIN, ORIGIN_V6,
        dns::Says,
        fleet::{
            QUESTION, SECOND, THIRD, await_state, deaf, knocks, reached, serve, shares, try_reach, world_of_servers,
        },
    },
};

const NAME: &str = "origin.example.net";
const BY_NAME: &str = "origin_dns = { name = \"origin.example.net\" }\norigin_port = 7000";
const SERVICE: &str = "_app._tcp.example.net";
const BY_SERVICE: &str = "origin_dns = { name = \"_app._tcp.example.net\", type = \"SRV\" }";

#[test]
fn a_change_of_a_name_reaches_new_connections_within_its_time_and_old_ones_stay() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    dns.say_addresses(NAME, &[ORIGIN], 1);
    let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
    assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    let mut old = world.client().connect(edge.at(443)).unwrap();
    old.write_all(QUESTION).unwrap();
    let mut greeting = [0; 12];
    old.read_exact(&mut greeting).unwrap();
    dns.say_addresses(NAME, &[SECOND], 1);
    let begin = Instant::now();
    wait::eventually("new connections go elsewhere", || (reached(&world, edge.at(443)) == SECOND).then_some(()));
    // The records live one second, and nobody is asked more often than every five.
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    old.write_all(b"still here").unwrap();
    // However many connections: the name server is asked now and then.
    let before = dns.asked(NAME);
    for _ in 0..200 {
        reached(&world, edge.at(443));
    }
    assert!(dns.asked(NAME) - before <= 4 + 4 * usize::try_from(begin.elapsed().as_secs() / 5).unwrap());
}

#[test]
fn a_name_that_changes_each_second_is_followed_without_a_storm_of_questions() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    let addresses = [ORIGIN, SECOND, THIRD];
    dns.say_addresses(NAME, &[ORIGIN], 0);
    let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
    let begin = Instant::now();
    let mut met = HashSet::new();
    while begin.elapsed() < Duration::from_secs(16) {
        let second = usize::try_from(begin.elapsed().as_secs()).unwrap();
        dns.say_addresses(NAME, &[addresses[second % 3]], 0);
        met.insert(reached(&world, edge.at(443)));
        wait::pause(Duration::from_millis(50));
    }
    assert!(met.len() >= 2, "{met:?}");
    // Two types of records, every five seconds.
    assert!(dns.asked(NAME) <= 2 * (16 / 5 + 2), "{} questions", dns.asked(NAME));
}

#[test]
fn a_name_whose_addresses_are_all_dead_is_asked_for_until_one_lives() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    // Nobody is at this address, and the records may be used for long.
    let nobody = IpAddr::from([203, 0, 113, 77]);
    dns.say_addresses(NAME, &[nobody], 600);
    world.edge().namespace().ip(&["route add unreachable 203.0.113.77/32"]);
    let check = "{ type = \"tcp\", interval = \"200ms\", timeout = \"200ms\", fall = 1 }";
    let edge = world.edge().run(config().app("tcp/443").line(BY_NAME).extension("health_check", check));
    await_state(&edge, nobody, false);
    dns.await_question(NAME);
    dns.await_question(NAME);
    dns.say_addresses(NAME, &[ORIGIN], 600);
    let moved = || (try_reach(&world, edge.at(443))?.ip() == ORIGIN).then_some(());
    wait::within(Duration::from_secs(45), moved).unwrap();
    wait::pause(Duration::from_secs(2));
    let asked = dns.asked(NAME);
    wait::pause(Duration::from_secs(12));
    assert_eq!(dns.asked(NAME), asked, "one lives: the answer has its time again");
}

#[test]
fn a_name_that_never_resolved_is_told_with_its_own_status() {
    for (says, status, reason) in [
        (Says::Failure, 530, "origin_not_resolved"),
        (Says::NoSuchName, 531, "origin_has_no_record"),
        (Says::Addresses(vec![EDGE], 60), 532, "origin_address_refused"),
    ] {
        let world = World::new();
        let dns = world.edge().dns();
        dns.say(NAME, says);
        let events = "[events]\nfile = \"/run/events.jsonl\"\n";
        let edge = world.edge().run(config().app("tcp/443").line(BY_NAME).raw(events));
        assert!(world.client().try_ask(None, edge.at(443), b"").is_err());
        let line = wait::eventually("the event is written", || {
            let text = world.edge().namespace().run(|| std::fs::read_to_string("/run/events.jsonl")).ok()?;
            text.lines().find(|line| line.contains("resolveOrigin")).map(str::to_owned)
        });
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&event["Status"], &event["extensions"]["reason"]), (&status.into(), &reason.into()), "{event}");
    }
}

#[test]
fn a_thousand_records_are_all_used_and_a_connection_tries_a_few() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    let many: Vec<IpAddr> = (0..1000_u32).map(|n| IpAddr::from((0xcb00_7200 + n).to_be_bytes())).collect();
    dns.say_addresses(NAME, &many, 60);
    // 203.0.114.0/22 has nobody: the kernel knows so at once.
    world
        .edge()
        .namespace()
        .ip(&["route add unreachable 203.0.112.0/21", "route add 203.0.113.0/24 dev eth1 metric 1"]);
    let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
    assert!(world.client().try_ask(None, edge.at(443), b"").is_err());
    assert_eq!(edge.status()["daemon"]["applications"][0]["origins"].as_array().unwrap().len(), 1000);
}

#[test]
fn services_go_by_priority_and_weight() {
    let world = world_of_servers(7001);
    serve(&world, 7002);
    let dns = world.edge().dns();
    let service = "_app._tcp.example.net";
    dns.say_addresses("one.example.net", &[ORIGIN], 60);
    dns.say_addresses("two.example.net", &[SECOND], 60);
    dns.say_addresses("spare.example.net", &[THIRD], 60);
    let services =
        vec![(10, 3, 7001, "one.example.net"), (10, 1, 7002, "two.example.net"), (20, 1, 7001, "spare.example.net")];
    dns.say(service, Says::Services(services, 60));
    let line = format!("origin_dns = {{ name = \"{service}\", type = \"SRV\" }}");
    let edge = world.edge().run(config().app("tcp/443").line(&line));
    let shares = shares(&world, edge.at(443), 200);
    assert!((120..180).contains(&shares[&ORIGIN]), "{shares:?}");
    assert_eq!(
        shares[&ORIGIN] + shares[&SECOND],
        200,
        "the spare one has its turn when the others are dead: {shares:?}"
    );
    deaf(&world, ORIGIN, "reject with tcp reset");
    deaf(&world, SECOND, "reject with tcp reset");
    assert_eq!(reached(&world, edge.at(443)), THIRD);
}

#[test]
fn a_target_has_its_weight_however_many_addresses_it_has() {
    let world = world_of_servers(7000);
    serve(&world, 7001);
    let dns = world.edge().dns();
    dns.say(SERVICE, Says::Services(vec![(10, 3, 7000, "one.example.net"), (10, 1, 7001, "two.example.net")], 60));
    dns.say_addresses("one.example.net", &[ORIGIN], 60);
    dns.say_addresses("two.example.net", &[SECOND, THIRD, ORIGIN_V6], 60);
    let edge = world.edge().run(config().app("tcp/443").line(BY_SERVICE));
    let ports = (0..200).map(|_| try_reach(&world, edge.at(443)).unwrap().port());
    let first = ports.filter(|port| *port == 7000).count();
    assert!((120..180).contains(&first), "{first} of 200");
}

#[test]
fn a_service_that_is_an_alias_is_followed_and_one_without_a_target_is_none() {
    for (says, reaches) in [
        (Says::Alias("_app._tcp.other.example.net", 60), Some(ORIGIN)),
        (Says::Services(vec![(0, 0, 0, "."), (0, 0, 7000, "one.example.net")], 60), Some(ORIGIN)),
        (Says::Services(vec![(0, 0, 0, ".")], 60), None),
    ] {
        let world = world_of_servers(7000);
        let dns = world.edge().dns();
        dns.say(SERVICE, says.clone());
        let target = vec![(10, 0, 7000, "one.example.net")];
        dns.say("_app._tcp.other.example.net", Says::Services(target, 60));
        dns.say_addresses("one.example.net", &[ORIGIN], 60);
        let events = "[events]\nfile = \"/run/events.jsonl\"\n";
        let edge = world.edge().run(config().app("tcp/443").line(BY_SERVICE).raw(events));
        assert_eq!(try_reach(&world, edge.at(443)).map(|address| address.ip()), reaches, "{says:?}");
        if reaches.is_none() {
            wait::eventually("the event says why", || {
                let text = world.edge().namespace().run(|| std::fs::read_to_string("/run/events.jsonl")).ok()?;
                text.contains("origin_has_no_record").then_some(())
            });
        }
    }
}

#[test]
fn an_alias_that_lives_shorter_than_its_end_is_asked_for_again_in_time() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    dns.say(NAME, Says::Alias("one.example.net", 1));
    dns.say_addresses("one.example.net", &[ORIGIN], 600);
    dns.say_addresses("two.example.net", &[SECOND], 600);
    let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
    assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    dns.say(NAME, Says::Alias("two.example.net", 1));
    wait::within(Duration::from_secs(15), || (reached(&world, edge.at(443)) == SECOND).then_some(())).unwrap();
}

#[test]
fn ports_of_a_name_keep_their_offset() {
    let world = world_of_servers(7000);
    serve(&world, 3005);
    let dns = world.edge().dns();
    dns.say_addresses(NAME, &[ORIGIN], 60);
    let lines = "origin_dns = { name = \"origin.example.net\" }\norigin_port = \"3000-4000\"";
    let edge = world.edge().run(config().app("tcp/1000-2000").line(lines));
    assert_eq!(try_reach(&world, edge.at(1005)), Some(SocketAddr::new(ORIGIN, 3005)));
}

#[test]
fn a_dead_family_costs_a_client_no_more_than_a_moment() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    dns.say_addresses(NAME, &[ORIGIN_V6, ORIGIN], 60);
    let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
    assert_eq!(reached(&world, edge.at(443)), ORIGIN_V6, "IPv6 is tried first");
    deaf(&world, ORIGIN_V6, "tcp dport 7000 drop");
    let begin = Instant::now();
    for _ in 0..3 {
        assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    }
    // A quarter of a second each, where whoever waits for IPv6 alone waits five.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    await_state(&edge, ORIGIN_V6, false);
    let before = knocks(&world, ORIGIN_V6);
    for _ in 0..5 {
        assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    }
    // Once in ten seconds one connection tries it.
    let more = knocks(&world, ORIGIN_V6) - before;
    assert!(more <= 2, "it is left out now: {more} more SYNs");
}
