//! Connections that the proxy ends: drain, idle time, new rules, bugs.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use super::{Edge, dialling::rule, listen, reads_reset};
use crate::{model::RuleMode, proxy::DrainReport};

#[test]
fn drain_waits_for_what_is_open() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (mut client, mut server) = edge.pair(&origin);
    let finish = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(300));
        client.write_all(b"still here").unwrap();
        server.read_exact(&mut [0; 10]).unwrap();
    });
    let begin = Instant::now();
    assert_eq!(edge.drain(super::PATIENCE), DrainReport { cut: 0, orderly: true });
    finish.join().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(300), "it did not wait");
    assert_eq!(edge.last_event()["Status"], 200);
    assert!(std::net::TcpStream::connect(edge.address).is_err(), "it still accepts");
}

#[test]
fn drain_resets_what_is_open_at_the_deadline() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (mut client, mut server) = edge.pair(&origin);
    assert_eq!(edge.drain(Duration::from_millis(100)), DrainReport { cut: 1, orderly: true });
    reads_reset(&mut client);
    reads_reset(&mut server);
    assert_eq!(edge.last_event()["extensions"]["reason"], "drained");
    edge.no_more_events();
}

#[test]
fn drain_serves_what_the_kernel_has_already_accepted() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let clients: Vec<_> = (0..50).map(|_| edge.connect()).collect();
    let serve = std::thread::spawn(move || {
        for _ in 0..50 {
            origin.accept().unwrap().0.write_all(b"served").unwrap();
        }
    });
    let ask = std::thread::spawn(move || {
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "served");
        }
    });
    assert_eq!(edge.drain(super::PATIENCE), DrainReport { cut: 0, orderly: true });
    ask.join().unwrap();
    serve.join().unwrap();
}

#[test]
fn an_idle_connection_ends_in_good_order_after_its_time() {
    let (origin, address) = listen();
    let mut edge = Edge::with(address, |app| app.timeouts.idle = Some(Duration::from_secs(1)));
    let (mut client, mut server) = edge.pair(&origin);
    for _ in 0..4 {
        std::thread::park_timeout(Duration::from_millis(500));
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    }
    let begin = Instant::now();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    assert_eq!(edge.last_event()["extensions"]["reason"], "idle_timeout");
}

#[test]
fn a_new_block_ends_open_connections_within_a_second() {
    let (origin, address) = listen();
    let mut edge = Edge::with(address, |app| app.ip_firewall = true);
    let (mut client, mut server) = edge.pair(&origin);
    edge.publish(vec![rule(RuleMode::Block, "192.0.2.0/24")]);
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    let begin = Instant::now();
    edge.publish(vec![rule(RuleMode::Block, "127.0.0.1/32")]);
    reads_reset(&mut client);
    reads_reset(&mut server);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let end = edge.last_event();
    assert_eq!((&end["Event"], &end["Status"]), (&"clientFiltered".into(), &403.into()), "{end}");
    assert_eq!(end["ClientMatchedIpFirewall"], "BLOCK_IP");
}

#[test]
fn a_bug_in_one_connection_ends_only_that_one_and_is_told() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (mut client, mut server) = edge.pair(&origin);
    assert_eq!(edge.event()["Event"], "connect");
    edge.state.applications[0].hostname = crate::proxy::serve::PANICS.to_owned();
    edge.publish(Vec::new());
    for _ in 0..8 {
        // Closed, one way or another.
        assert!(matches!(edge.connect().read(&mut [0]), Ok(0) | Err(_)));
        let end = edge.event();
        assert_eq!((&end["Status"], &end["extensions"]["reason"]), (&500.into(), &"panic".into()), "{end}");
    }
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    drop((client, server));
    assert_eq!(edge.event()["Status"], 200);
    assert_eq!(edge.metrics().active(), 0);
    assert_eq!(edge.drain(super::PATIENCE), DrainReport { cut: 0, orderly: true });
}
