//! Peers that vanish without a word: found within the application's own times, and recorded with the product's status.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config, wait,
    world::{config::Config, namespace::Namespace, server::Server},
};

const EVENTS: &str = "[events]\nfile = \"/mnt/events.jsonl\"\n";

/// One application whose silent peers are found within three seconds.
fn node(origin: &Server) -> Config {
    config()
        .app("tcp/443")
        .origin(origin.addr())
        .extension("keepalive_idle", "\"1s\"")
        .extension("keepalive_interval", "\"1s\"")
        .extension("keepalive_count", "2")
        .extension("user_timeout", "\"3s\"")
        .raw(EVENTS)
}

/// From now on nothing comes in or goes out there, and nobody is told so.
fn vanish(namespace: &Namespace) {
    for hook in ["input", "output"] {
        let chain =
            format!("table inet gone {{ chain {hook} {{ type filter hook {hook} priority 0; policy drop; }}; }}");
        namespace.stdout("nft", &[&chain]);
    }
}

/// Status and word of the event that ends the one connection.
fn end(world: &World) -> (u64, String) {
    let line = wait::eventually("the end is written", || {
        let text = world.edge().namespace().run(|| std::fs::read_to_string("/mnt/events.jsonl")).ok()?;
        text.lines().find(|line| line.contains("\"disconnect\"")).map(str::to_owned)
    });
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    (event["Status"].as_u64().unwrap(), event["extensions"]["reason"].as_str().unwrap().to_owned())
}

#[test]
fn an_origin_that_vanishes_is_445_whether_anything_was_on_its_way_or_not() {
    for on_its_way in [true, false] {
        let world = World::new();
        let origin = world.origin().echo();
        let edge = world.edge().run(node(&origin));
        let mut client = world.client().connect(edge.at(443)).unwrap();
        client.write_all(b"?").unwrap();
        client.read_exact(&mut [0]).unwrap();
        // The origin's leg is guarded within a moment of its connection.
        wait::eventually("keepalive on both legs", || {
            let sockets = world.edge().stdout("ss", &["-Htno", "state", "established"]);
            sockets.lines().filter(|line| line.contains("timer:(keepalive,")).count().eq(&2).then_some(())
        });
        vanish(world.origin().namespace());
        let begin = Instant::now();
        if on_its_way {
            client.write_all(b"is anybody there?").unwrap();
        }
        assert_eq!(end(&world), (445, "origin_error".to_owned()));
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        let error = client.read(&mut [0]).expect_err("the client is told by a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_client_that_vanishes_is_497() {
    let world = World::new();
    let (listener, address) = world.origin().listen();
    let app = config()
        .app("tcp/443")
        .origin(address)
        .extension("keepalive_idle", "\"1s\"")
        .extension("keepalive_interval", "\"1s\"")
        .extension("user_timeout", "\"3s\"");
    let edge = world.edge().run(app.raw(EVENTS));
    let client = world.client().connect(edge.at(443)).unwrap();
    let (mut origin, _) = listener.accept().unwrap();
    origin.write_all(b"hello").unwrap();
    vanish(world.client().namespace());
    origin.write_all(b"are you there?").unwrap();
    assert_eq!(end(&world), (497, "client_error".to_owned()));
    drop(client);
}
