//! Which origins live: what is held against one, what is not, and what a client notices of a dead one: nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config, wait,
    world::{
        ORIGIN,
        edge::Daemon,
        fleet::{
            SECOND, THIRD, await_state, await_ups, deaf, hears_again, knocks, origins, reached, shares,
            world_of_servers,
        },
        process::Process,
    },
};

#[test]
fn a_dead_origin_costs_no_client_a_connection() {
    for verdict in ["drop", "reject with tcp reset", "reject with icmp type host-unreachable"] {
        let world = world_of_servers(7000);
        let origins =
            config().app("tcp/443").origin("203.0.113.2:7000").origin("203.0.113.3:7000").origin("203.0.113.4:7000");
        let edge = world.edge().run(origins);
        assert_eq!(shares(&world, edge.at(443), 30), HashMap::from([(ORIGIN, 10), (SECOND, 10), (THIRD, 10)]));
        deaf(&world, SECOND, verdict);
        for _ in 0..30 {
            assert_ne!(reached(&world, edge.at(443)), SECOND, "{verdict}");
        }
        await_state(&edge, SECOND, false);
        let begin = Instant::now();
        shares(&world, edge.at(443), 20);
        // Were it not, a third of them would take a second where it drops.
        assert!(begin.elapsed() < Duration::from_secs(4), "it is left out now: {:?}", begin.elapsed());
        hears_again(&world, SECOND);
        wait::within(Duration::from_secs(90), || (reached(&world, edge.at(443)) == SECOND).then_some(())).unwrap();
        await_state(&edge, SECOND, true);
    }
}

#[test]
fn an_origin_that_comes_and_goes_costs_nobody_a_connection() {
    let world = world_of_servers(7000);
    let origins = config().app("tcp/443").origin("203.0.113.2:7000").origin("203.0.113.3:7000");
    let edge = world.edge().run(origins);
    let mut met = 0;
    for round in 0..20 {
        let verdict = ["reject with tcp reset", "drop"][round % 2];
        deaf(&world, SECOND, verdict);
        // Each has its turn in two.
        for _ in 0..2 {
            assert_eq!(reached(&world, edge.at(443)), ORIGIN, "{round}");
        }
        met += knocks(&world, SECOND).min(1);
        hears_again(&world, SECOND);
        for _ in 0..2 {
            reached(&world, edge.at(443));
        }
    }
    assert!(met > 5, "the deaf one was dialled in {met} of 20 rounds");
}

#[test]
fn checks_find_a_dead_origin_before_a_client_does() {
    let world = world_of_servers(7000);
    let check = "{ type = \"tcp\", interval = \"500ms\", timeout = \"500ms\", rise = 2, fall = 2 }";
    let origins = config().app("tcp/443").origin("203.0.113.2:7000").origin("203.0.113.3:7000");
    let edge = world.edge().run(origins.extension("health_check", check));
    deaf(&world, SECOND, "drop");
    await_state(&edge, SECOND, false);
    let begin = Instant::now();
    assert_eq!(shares(&world, edge.at(443), 20), HashMap::from([(ORIGIN, 20)]));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    hears_again(&world, SECOND);
    await_state(&edge, SECOND, true);
    assert_eq!(shares(&world, edge.at(443), 10).len(), 2);
}

#[test]
fn a_check_reads_the_answer_and_not_only_the_handshake() {
    let world = World::new();
    let redis = world.origin().redis();
    let check = "{ type = \"tcp\", interval = \"500ms\", timeout = \"500ms\", send = \"PING\\r\\n\", expect = \"+PONG\", fall = 1 }";
    let edge = world.edge().run(config().app("tcp/6379").origin(redis.addr()).extension("health_check", check));
    await_state(&edge, ORIGIN, true);
    world.origin().namespace().stdout("redis-cli", &["config", "set", "requirepass", "secret"]);
    await_state(&edge, ORIGIN, false);
    let failure = edge.status()["daemon"]["applications"][0]["origins"][0]["failure"].to_string();
    assert!(failure.contains("no answer within 500ms"), "{failure}");
    world.origin().namespace().stdout("redis-cli", &["-a", "secret", "config", "set", "requirepass", ""]);
    await_state(&edge, ORIGIN, true);
}

/// The first of two origins. Both begin as alive: that a check finds one so is seen when it was dead.
fn dies_and_lives_again(world: &World, edge: &Daemon<'_>) {
    await_ups(edge, &[true, false]);
    deaf(world, ORIGIN, "drop");
    await_ups(edge, &[false, false]);
    hears_again(world, ORIGIN);
    await_ups(edge, &[true, false]);
}

#[test]
fn a_check_says_first_what_the_origin_expects() {
    for version in ["v1", "v2"] {
        let world = World::new();
        let haproxy = world.origin().haproxy_told();
        let check = "{ type = \"tcp\", interval = \"1s\", timeout = \"1s\", rise = 1, fall = 1, \
                     send = \"GET / HTTP/1.0\\r\\n\\r\\n\", expect = \"200 OK\" }";
        let app =
            config().app("tcp/80").origin(haproxy.addr()).origin("203.0.113.2:9").extension("health_check", check);
        let edge = world.edge().run(app.line(&format!("proxy_protocol = \"{version}\"")));
        dies_and_lives_again(&world, &edge);
    }
}

#[test]
fn a_check_of_tls_takes_any_certificate_and_nothing_that_is_not_tls() {
    let world = World::new();
    let origin = world.origin().namespace();
    let (key, certificate) = ("/run/key.pem", "/run/certificate.pem");
    let wanted = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=expired.example.org", "-days", "1"];
    origin.stdout("openssl", &[&["req", "-x509", "-keyout", key, "-out", certificate], &wanted[..]].concat());
    let arguments = ["s_server", "-accept", "7443", "-cert", certificate, "-key", key, "-www", "-quiet"];
    let _server = Process::service(origin, "openssl", "openssl", &arguments);
    let plain = world.origin().echo();
    let check = "{ type = \"tls\", interval = \"1s\", timeout = \"1s\", rise = 1, fall = 1, \
                 send = \"GET / HTTP/1.0\\r\\n\\r\\n\", expect = \"200 ok\" }";
    let app = config().app("tcp/443").origin("203.0.113.2:7443").origin(plain.addr()).extension("health_check", check);
    let edge = world.edge().run(app);
    dies_and_lives_again(&world, &edge);
}

#[test]
fn one_that_accepts_and_says_the_wrong_thing_is_left_out_in_the_middle_of_traffic() {
    let world = World::new();
    let redis = world.origin().redis();
    let check = "{ type = \"tcp\", interval = \"400ms\", timeout = \"300ms\", rise = 1, fall = 3, \
                 send = \"PING\\r\\n\", expect = \"+PONG\" }";
    let edge = world.edge().run(config().app("tcp/6379").origin(redis.addr()).extension("health_check", check));
    let traffic = || world.client().ask(edge.at(6379), b"PING\r\n");
    assert_eq!(traffic(), b"+PONG\r\n");
    world.origin().namespace().stdout("redis-cli", &["config", "set", "requirepass", "secret"]);
    let down = || {
        // Many a dial between two checks, and each is accepted.
        assert!(traffic().starts_with(b"-NOAUTH"));
        (origins(&edge)[0]["up"] == false).then_some(())
    };
    wait::eventually("it is left out", down);
    world.origin().namespace().stdout("redis-cli", &["-a", "secret", "config", "set", "requirepass", ""]);
    wait::eventually("it is back", || (origins(&edge)[0]["up"] == true).then_some(()));
}

#[test]
fn whoever_scans_the_ports_of_a_range_takes_no_origin_from_others() {
    let world = World::new();
    let origin = world.origin();
    origin.namespace().ip(&["addr add 203.0.113.3/24 dev eth0"]);
    let serving = origin.echo_on(&[7000]);
    // Its other ports are closed, and one is filtered.
    let filter = "table ip filter { chain c { type filter hook input priority 0; tcp dport 7005 drop; }; }";
    origin.namespace().stdout("nft", &[filter]);
    let app = config()
        .app("tcp/7000-7009")
        .origin("203.0.113.2:7000-7009")
        .origin("203.0.113.3:7000-7009")
        .extension("connect_timeout", "\"400ms\"");
    let edge = world.edge().run(app);
    for round in 0..4 {
        assert_eq!(world.client().ask(edge.at(7000), b"hi"), b"hi", "{round}");
        for closed in [7001, 7002, 7003, 7005] {
            assert!(world.client().try_ask(None, edge.at(closed), b"hi").is_err(), "{closed}");
        }
        wait::pause(Duration::from_millis(50));
    }
    let origins = origins(&edge);
    assert!(origins.iter().all(|origin| origin["up"] == true), "{origins:?}");
    let before = serving.accepted();
    for _ in 0..10 {
        assert_eq!(world.client().ask(edge.at(7000), b"hi"), b"hi");
    }
    assert_eq!(serving.accepted() - before, 10);
    // A host that is gone is left out all the same.
    let gone = "add rule ip filter c ip daddr 203.0.113.3 drop";
    origin.namespace().stdout("nft", &[gone]);
    wait::eventually("the one that is gone is left out", || {
        assert_eq!(world.client().ask(edge.at(7000), b"hi"), b"hi");
        let up: Vec<bool> = self::origins(&edge).iter().map(|origin| origin["up"] == true).collect();
        (up == [true, false]).then_some(())
    });
}
