//! Connections that the proxy ends: drain, idle time, new rules, bugs.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Edge, dialling::rule, listen, reads_reset};
use crate::{
    listen::{Budget, Listeners, Sources},
    model::RuleMode,
    proxy::{DrainReport, Workers},
};

#[test]
fn drain_waits_for_what_is_open() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (mut client, mut server) = edge.pair(&origin);
    let finish = thread::spawn(move || {
        thread::park_timeout(Duration::from_millis(300));
        client.write_all(b"still here").unwrap();
        server.read_exact(&mut [0; 10]).unwrap();
    });
    let begin = Instant::now();
    assert_eq!(edge.drain(super::PATIENCE), DrainReport { cut: 0, orderly: true });
    finish.join().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(300), "it did not wait");
    assert_eq!(edge.last_event()["Status"], 200);
    assert!(TcpStream::connect(edge.address).is_err(), "it still accepts");
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
    let serve = thread::spawn(move || {
        for _ in 0..50 {
            origin.accept().unwrap().0.write_all(b"served").unwrap();
        }
    });
    let ask = thread::spawn(move || {
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
fn who_waits_when_another_process_has_the_sockets_is_left_to_that_one() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (mut open, mut server) = edge.pair(&origin);
    edge.pause();
    let successor: Vec<_> = edge.listening.drain(..).map(std::net::TcpListener::from).collect();
    let clients: Vec<_> = (0..20).map(|_| edge.connect()).collect();
    let finish = thread::spawn(move || {
        thread::park_timeout(Duration::from_millis(300));
        open.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    });
    assert_eq!(edge.leave(super::PATIENCE), DrainReport { cut: 0, orderly: true });
    finish.join().unwrap();
    for socket in &successor {
        socket.set_nonblocking(true).unwrap();
    }
    let waiting: usize = successor.iter().map(|socket| std::iter::from_fn(|| socket.accept().ok()).count()).sum();
    assert_eq!(waiting, clients.len());
    assert_eq!(edge.last_event()["Status"], 200);
    edge.no_more_events();
}

#[test]
fn whoever_has_paused_accepts_nobody_from_then_on() {
    let (origin, address) = listen();
    origin.set_nonblocking(true).unwrap();
    let mut edge = Edge::before(address);
    for _ in 0..50 {
        edge.pause();
        let accepted = || std::iter::from_fn(|| origin.accept().ok()).count();
        accepted();
        let client = edge.connect();
        thread::park_timeout(Duration::from_millis(2));
        assert_eq!(accepted(), 0);
        edge.workers.as_ref().unwrap().open();
        super::eventually(|| (accepted() == 1).then_some(()));
        drop(client);
    }
}

#[test]
fn an_idle_connection_ends_in_good_order_after_its_time() {
    let (origin, address) = listen();
    let mut edge = Edge::with(address, |app| app.timeouts.idle = Some(Duration::from_secs(1)));
    let (mut client, mut server) = edge.pair(&origin);
    for _ in 0..4 {
        thread::park_timeout(Duration::from_millis(500));
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
fn who_waits_while_a_successor_fails_is_served_by_who_goes_on() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    edge.pause();
    let mut client = edge.connect();
    let listeners = Listeners::inherit(std::mem::take(&mut edge.listening), 2).unwrap();
    let published = edge.table.subscribe();
    let mut successor = Workers::start_within(
        Budget::divide(64),
        listeners.shares(2),
        &published,
        &edge.telemetry,
        &Sources::default(),
    )
    .unwrap();
    // It has never served.
    let report = edge.runtime.block_on(successor.cut());
    assert_eq!(report.cut, 0, "it took who was not its own");
    edge.workers.as_ref().unwrap().open();
    client.write_all(b"x").unwrap();
    let mut server = super::patient(origin.accept().unwrap().0);
    server.read_exact(&mut [0]).unwrap();
}

/// A client with a small window, and an origin with more to say than the kernel keeps for it.
fn much_for_a_slow_reader(
    edge: &Edge,
    origin: &std::net::TcpListener,
    bytes: usize,
) -> (TcpStream, JoinHandle<io::Result<()>>) {
    // Before the connection is there, and may be idle: so much memory takes a busy machine its time.
    let said = vec![b'.'; bytes];
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.set_recv_buffer_size(64 << 10).unwrap();
    client.connect(&edge.address.into()).unwrap();
    let mut server = super::patient(origin.accept().unwrap().0);
    let writing = thread::spawn(move || server.write_all(&said));
    (super::patient(client.into()), writing)
}

const MUCH: usize = 10 << 20;

#[test]
fn a_connection_whose_bytes_are_taken_slowly_is_not_idle() {
    let (origin, address) = listen();
    let mut edge = Edge::with(address, |app| app.timeouts.idle = Some(Duration::from_millis(500)));
    let (mut client, writing) = much_for_a_slow_reader(&edge, &origin, MUCH);
    let (mut taken, mut piece) = (0, vec![0; 128 << 10]);
    loop {
        let read = client.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        taken += read;
        // A pipe full of bytes lasts longer than the connection may be idle.
        thread::park_timeout(Duration::from_millis(if taken < MUCH / 2 { 30 } else { 0 }));
    }
    assert_eq!(taken, MUCH);
    writing.join().unwrap().unwrap();
    assert_eq!(edge.last_event()["OriginBytes"], MUCH);
}

#[test]
fn a_client_that_takes_nothing_for_as_long_gets_no_end_that_looks_like_one() {
    let (origin, address) = listen();
    let mut edge = Edge::with(address, |app| app.timeouts.idle = Some(Duration::from_millis(500)));
    // More than every buffer on the way takes.
    let (mut client, writing) = much_for_a_slow_reader(&edge, &origin, 128 << 20);
    writing.join().unwrap().unwrap_err();
    let end = edge.last_event();
    assert_eq!((&end["Event"], &end["Status"]), (&"disconnect".into(), &497.into()), "{end}");
    let error = io::copy(&mut client, &mut io::sink()).expect_err("half a stream that ends like a whole one");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
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
