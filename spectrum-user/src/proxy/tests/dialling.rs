//! Classify, access and dial: what a client sees of each way to fail, and what the event says.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Edge, direct, listen, patient, reads_reset, reset};
use crate::model::{AccessRule, RuleId, RuleMode, Scope, Target};

#[test]
fn a_refusing_origin_is_a_reset_and_521() {
    let (origin, address) = listen();
    drop(origin);
    let mut edge = Edge::before(address);
    reads_reset(&mut edge.connect());
    let end = edge.event();
    assert_eq!((&end["Event"], &end["Status"]), (&"originError".into(), &521.into()), "{end}");
    assert_eq!((&end["OriginPort"], &end["OriginBytes"]), (&address.port().into(), &0.into()), "{end}");
    assert_eq!(end["ConnectTimestamp"], "");
    edge.no_more_events();
}

#[test]
fn a_silent_origin_is_a_reset_and_522_at_the_deadline() {
    let origin = SilentOrigin::new();
    let deadline = Duration::from_millis(300);
    let mut edge = Edge::with(origin.address, |app| app.timeouts.connect = deadline);
    let begin = Instant::now();
    reads_reset(&mut edge.connect());
    assert!(begin.elapsed() >= deadline, "{:?}", begin.elapsed());
    assert!(begin.elapsed() < deadline * 10, "{:?}", begin.elapsed());
    assert_eq!(edge.event()["Status"], 522);
}

#[test]
fn a_client_that_resets_while_we_dial_ends_the_dial() {
    let origin = SilentOrigin::new();
    let mut edge = Edge::with(origin.address, |app| app.timeouts.connect = super::PATIENCE * 2);
    reset(edge.connect());
    assert_eq!(edge.event()["Status"], 499);
}

#[test]
fn what_a_client_sends_before_the_origin_answers_is_not_lost() {
    let (origin, address) = listen();
    let edge = Edge::before(address);
    let mut client = edge.connect();
    client.write_all(b"impatient").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    patient(origin.accept().unwrap().0).read_to_string(&mut said).unwrap();
    assert_eq!(said, "impatient");
}

#[test]
fn the_next_origin_is_tried_where_one_refuses() {
    let (origin, address) = listen();
    let (refusing, nobody) = listen();
    drop(refusing);
    let mut edge = Edge::with(address, |app| app.origins = direct(&[nobody, address]));
    for _ in 0..4 {
        let (mut client, mut server) = edge.pair(&origin);
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        drop((client, server));
        assert_eq!(edge.last_event()["OriginPort"], address.port());
    }
}

#[test]
fn an_address_of_no_application_is_a_reset_and_a_count() {
    let (_origin, address) = listen();
    let edge = Edge::with(address, |app| app.addresses = vec!["127.99.99.99".parse().unwrap()]);
    reads_reset(&mut edge.connect());
    let unclassified =
        || (0..2).filter_map(|i| edge.telemetry.metrics.worker(i)).map(|w| w.unclassified.value()).sum::<u64>();
    assert_eq!(super::eventually(|| Some(unclassified()).filter(|n| *n > 0)), 1);
}

#[test]
fn a_blocked_client_is_reset_only_where_the_application_asks() {
    let (origin, address) = listen();
    let mut edge = Edge::with(address, |app| app.ip_firewall = true);
    edge.publish(vec![rule(RuleMode::Block, "127.0.0.0/8")]);
    reads_reset(&mut edge.connect());
    let end = edge.event();
    assert_eq!((&end["Event"], &end["Status"]), (&"clientFiltered".into(), &403.into()), "{end}");
    assert_eq!(end["ClientMatchedIpFirewall"], "BLOCK_IP");
    origin.set_nonblocking(true).unwrap();
    assert!(origin.accept().is_err(), "the origin was dialled for a blocked client");
    origin.set_nonblocking(false).unwrap();

    edge.publish(vec![rule(RuleMode::Block, "127.0.0.0/8"), rule(RuleMode::Allow, "127.0.0.1/32")]);
    drop(edge.pair(&origin));
    assert_eq!(edge.last_event()["ClientMatchedIpFirewall"], "WHITELIST_IP");

    edge.publish(vec![rule(RuleMode::Block, "127.0.0.0/8")]);
    edge.state.applications[0].ip_firewall = false;
    edge.publish(vec![rule(RuleMode::Block, "127.0.0.0/8")]);
    drop(edge.pair(&origin));
    assert_eq!(edge.last_event()["ClientMatchedIpFirewall"], "UNKNOWN");
}

pub(super) fn rule(mode: RuleMode, prefix: &str) -> AccessRule {
    let id = RuleId::derive(&[&format!("{mode:?}{prefix}")]);
    AccessRule {
        id,
        scope: Scope::User,
        mode,
        target: Target::Prefix(prefix.parse().unwrap()),
        notes: String::new(),
        simulate: false,
        expires_on: None,
    }
}

/// A listener whose queue is full: the kernel drops further SYNs.
struct SilentOrigin {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl SilentOrigin {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queued.push(stream);
        }
        Self { address, _listener: listener, _queued: queued }
    }
}
