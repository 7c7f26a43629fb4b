//! Name servers that fail, wholly or in half: what is known serves, and they are asked less and less often.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config, wait,
    world::{
        EDGE, ORIGIN, ORIGIN_V6,
        dns::{Dns, Says},
        fleet::{SECOND, origins, reached, serve, try_reach, world_of_servers},
    },
};

const NAME: &str = "origin.example.net";
const BY_NAME: &str = "origin_dns = { name = \"origin.example.net\" }\norigin_port = 7000";
const SERVICE: &str = "_app._tcp.example.net";
const BY_SERVICE: &str = "origin_dns = { name = \"_app._tcp.example.net\", type = \"SRV\" }";

#[test]
fn a_resolver_that_fails_in_any_way_takes_nothing_away() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    dns.say_addresses(NAME, &[ORIGIN], 0);
    let mut edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
    assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    for says in [Says::Failure, Says::Silence, Says::NoSuchName, Says::Nothing] {
        let before = dns.asked(NAME);
        dns.say(NAME, says);
        wait::within(Duration::from_secs(90), || (dns.asked(NAME) > before).then_some(())).unwrap();
        assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    }
    edge.process().await_line("origin.example.net does not resolve");
    // An address that nobody may dial is no answer either: the pool is the edge itself.
    dns.say_addresses(NAME, &[EDGE], 0);
    wait::within(Duration::from_secs(90), || {
        edge.process().printed().contains("which cannot be an origin").then_some(())
    })
    .unwrap();
    assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    dns.say_addresses(NAME, &[SECOND], 0);
    wait::within(Duration::from_secs(90), || (reached(&world, edge.at(443)) == SECOND).then_some(())).unwrap();
}

#[test]
fn a_resolver_that_is_down_at_a_start_takes_nothing_away() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    dns.say_addresses(NAME, &[ORIGIN], 600);
    let app = config().app("tcp/443").line(BY_NAME);
    let mut edge = world.edge().run(&app);
    assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    assert!(edge.terminate().success());
    for says in [Says::Failure, Says::Silence] {
        dns.say(NAME, says);
        let mut edge = world.edge().run(&app);
        assert_eq!(reached(&world, edge.at(443)), ORIGIN);
        edge.process().await_line("what it resolved to before this start is in use");
        edge.kill();
    }
    dns.say_addresses(NAME, &[SECOND], 600);
    let edge = world.edge().run(&app);
    assert_eq!(reached(&world, edge.at(443)), SECOND, "an answer is better than a memory");
}

#[test]
fn one_silent_type_of_record_keeps_nobody_from_the_other() {
    for resolv_conf in ["nameserver 127.0.0.1\n", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"] {
        let world = world_of_servers(7000);
        let dns = world.edge().dns();
        Dns::configure(world.edge().namespace(), resolv_conf);
        dns.say(NAME, Says::Half(vec![ORIGIN], 60, Box::new(Says::Silence)));
        let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
        let begin = Instant::now();
        assert_eq!(reached(&world, edge.at(443)), ORIGIN);
        assert!(begin.elapsed() < Duration::from_secs(4), "{resolv_conf}: {:?}", begin.elapsed());
    }
}

#[test]
fn a_service_with_a_silent_target_serves_by_the_others() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    Dns::configure(world.edge().namespace(), "nameserver 127.0.0.1\n");
    dns.say(SERVICE, Says::Services(vec![(10, 1, 7000, "silent.example.net"), (20, 1, 7000, "one.example.net")], 60));
    dns.say("silent.example.net", Says::Silence);
    dns.say_addresses("one.example.net", &[ORIGIN], 60);
    let edge = world.edge().run(config().app("tcp/443").line(BY_SERVICE));
    let begin = Instant::now();
    assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn the_hosts_file_needs_no_name_server() {
    for resolv_conf in ["", "nameserver 203.0.113.99\n"] {
        let world = world_of_servers(7000);
        Dns::configure(world.edge().namespace(), resolv_conf);
        Dns::hosts(world.edge().namespace(), "203.0.113.3 origin.example.net\n");
        let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
        assert_eq!(try_reach(&world, edge.at(443)).map(|address| address.ip()), Some(SECOND), "{resolv_conf}");
    }
}

#[test]
fn without_a_line_the_name_server_is_the_host_itself() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    Dns::configure(world.edge().namespace(), "options timeout:1\n");
    dns.say_addresses(NAME, &[ORIGIN], 60);
    let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
    assert_eq!(reached(&world, edge.at(443)), ORIGIN);
}

#[test]
fn a_bad_name_server_does_not_hide_a_good_one() {
    for says in [Says::Refused, Says::Failure, Says::Silence] {
        let world = world_of_servers(7000);
        let good = world.edge().dns();
        let bad = Dns::start_at(world.edge().namespace(), Ipv4Addr::new(127, 0, 0, 2));
        Dns::configure(world.edge().namespace(), "nameserver 127.0.0.2\nnameserver 127.0.0.1\n");
        bad.say(NAME, says.clone());
        good.say_addresses(NAME, &[ORIGIN], 60);
        let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
        assert_eq!(try_reach(&world, edge.at(443)).map(|address| address.ip()), Some(ORIGIN), "{says:?}");
        assert!(bad.asked(NAME) > 0, "it is the first in the file");
    }
}

#[test]
fn a_family_without_an_answer_takes_nothing_away_and_is_asked_for_less_and_less_often() {
    let world = world_of_servers(7000);
    let dns = world.edge().dns();
    dns.say_addresses(NAME, &[ORIGIN, ORIGIN_V6], 10);
    let mut edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
    assert_eq!(reached(&world, edge.at(443)), ORIGIN_V6);
    dns.say(NAME, Says::Half(vec![ORIGIN], 10, Box::new(Says::Failure)));
    dns.await_question(NAME);
    edge.process().await_line("no answer about its IPv6 addresses");
    assert_eq!(reached(&world, edge.at(443)), ORIGIN_V6, "who was known stays");
    let begin = Instant::now();
    let asked = dns.asked(NAME);
    wait::pause(Duration::from_secs(24));
    // Two types after 5 seconds, then every 10, as long as the answer may be used.
    let more = dns.asked(NAME) - asked;
    assert!(more <= 2 * 4, "{more} questions in {:?}", begin.elapsed());
    assert_eq!(edge.process().printed().matches("no answer about").count(), 1, "it is told once");
    assert_eq!(origins(&edge).len(), 2);
}

#[test]
fn a_target_without_an_answer_stays_and_one_that_is_no_more_goes() {
    let world = world_of_servers(7000);
    serve(&world, 7001);
    let dns = world.edge().dns();
    let services = |ttl| Says::Services(vec![(10, 1, 7000, "one.example.net"), (20, 1, 7001, "two.example.net")], ttl);
    dns.say(SERVICE, services(1));
    dns.say_addresses("one.example.net", &[ORIGIN], 1);
    dns.say_addresses("two.example.net", &[SECOND], 1);
    let edge = world.edge().run(config().app("tcp/443").line(BY_SERVICE));
    assert_eq!(reached(&world, edge.at(443)), ORIGIN);
    for says in [Says::Failure, Says::Silence] {
        dns.say("one.example.net", says);
        dns.await_question("one.example.net");
        dns.await_question("one.example.net");
        assert_eq!(reached(&world, edge.at(443)), ORIGIN, "the spare one is for when this one is dead");
        assert_eq!(origins(&edge).len(), 2);
    }
    dns.say(SERVICE, services(600));
    dns.say("one.example.net", Says::NoSuchName);
    wait::within(Duration::from_secs(90), || (reached(&world, edge.at(443)) == SECOND).then_some(())).unwrap();
    dns.say_addresses("two.example.net", &[SECOND], 600);
    wait::pause(Duration::from_secs(6));
    let asked = dns.asked("one.example.net");
    wait::pause(Duration::from_secs(12));
    assert_eq!(dns.asked("one.example.net"), asked, "an answer that says no is one, and has its time");
}

#[test]
fn questions_are_few_while_all_fails() {
    let ask = |says: Says| {
        let world = World::new();
        let dns = world.edge().dns();
        dns.say(NAME, says.clone());
        let edge = world.edge().run(config().app("tcp/443").line(BY_NAME));
        wait::pause(Duration::from_secs(20));
        drop(edge);
        // After 0, 5 and 15 seconds, for two types; hickory sends a datagram again twice at most where nothing comes back.
        let asked = dns.asked(NAME);
        assert!((2..=3 * 2 * 3).contains(&asked), "{says:?}: {asked} questions");
    };
    thread::scope(|scope| {
        for says in [Says::Failure, Says::Refused, Says::Silence] {
            scope.spawn(|| ask(says));
        }
    });
}
