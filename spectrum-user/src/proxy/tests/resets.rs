//! A reset of one side is a reset of the other, at once, whatever the connection is doing.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use super::{Edge, MODES, listen, reads_reset, reset, sees_reset};

#[test]
fn of_an_idle_client() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (client, mut server) = edge.pair(&origin);
    assert_eq!(edge.event()["Event"], "connect");
    reset(client);
    reads_reset(&mut server);
    assert_eq!(edge.event()["Status"], 499);
}

#[test]
fn of_an_idle_origin() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (mut client, server) = edge.pair(&origin);
    // Only then the dial is over: before it, a reset is an origin that did not accept.
    assert_eq!(edge.event()["Event"], "connect");
    reset(server);
    reads_reset(&mut client);
    let end = edge.event();
    assert_eq!((&end["Event"], &end["Status"]), (&"disconnect".into(), &444.into()), "{end}");
    assert_eq!(end["extensions"]["reason"], "origin_reset");
}

#[test]
fn of_a_client_whose_bytes_nobody_takes() {
    for mode in MODES {
        let (origin, address) = listen();
        let mut edge = Edge::with(address, |app| app.splice = mode);
        let (client, server) = edge.pair(&origin);
        fill(&client);
        reset(client);
        sees_reset(&server);
        assert_eq!(edge.last_event()["Status"], 499, "{mode:?}");
    }
}

#[test]
fn of_an_origin_whose_bytes_nobody_takes() {
    for mode in MODES {
        let (origin, address) = listen();
        let mut edge = Edge::with(address, |app| app.splice = mode);
        let (client, server) = edge.pair(&origin);
        fill(&server);
        reset(server);
        sees_reset(&client);
        assert_eq!(edge.last_event()["Status"], 444, "{mode:?}");
    }
}

#[test]
fn of_an_origin_that_takes_no_bytes() {
    for mode in MODES {
        let (origin, address) = listen();
        let mut edge = Edge::with(address, |app| app.splice = mode);
        let (client, server) = edge.pair(&origin);
        fill(&client);
        reset(server);
        sees_reset(&client);
        assert_eq!(edge.last_event()["Status"], 444, "{mode:?}");
    }
}

#[test]
fn of_a_client_that_has_said_everything() {
    for mode in MODES {
        let (origin, address) = listen();
        let mut edge = Edge::with(address, |app| app.splice = mode);
        let (client, mut server) = edge.pair(&origin);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        reset(client);
        sees_reset_or_broken_pipe(&server);
        let status = edge.last_event()["Status"].as_u64().unwrap();
        assert!(matches!(status, 498 | 499), "{mode:?} {status}");
    }
}

#[test]
fn of_an_origin_that_has_said_everything() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (mut client, server) = edge.pair(&origin);
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    reset(server);
    sees_reset_or_broken_pipe(&client);
    let status = edge.last_event()["Status"].as_u64().unwrap();
    assert!(matches!(status, 444 | 448), "{status}");
}

#[test]
fn of_an_origin_after_the_client_has_said_everything() {
    let (origin, address) = listen();
    let mut edge = Edge::before(address);
    let (mut client, mut server) = edge.pair(&origin);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    reset(server);
    reads_reset(&mut client);
    assert_eq!(edge.last_event()["Status"], 444);
}

#[test]
fn in_the_middle_of_bulk() {
    for mode in MODES {
        let (origin, address) = listen();
        let mut edge = Edge::with(address, |app| app.splice = mode);
        let (mut client, mut server) = edge.pair(&origin);
        let writer = std::thread::spawn(move || {
            let chunk = vec![7; 1 << 20];
            while client.write_all(&chunk).is_ok() {}
        });
        let mut sink = vec![0; 1 << 20];
        server.read_exact(&mut sink).unwrap();
        reset(server);
        writer.join().unwrap();
        assert_eq!(edge.last_event()["Status"], 444, "{mode:?}");
    }
}

#[test]
fn last_words_before_a_reset_are_passed_on() {
    for mode in MODES {
        let (origin, address) = listen();
        let edge = Edge::with(address, |app| app.splice = mode);
        let (mut client, mut server) = edge.pair(&origin);
        client.write_all(b"a request that nobody reads").unwrap();
        server.peek(&mut [0]).unwrap();
        server.write_all(b"go away").unwrap();
        // Closed with unread bytes: the kernel sends a reset.
        drop(server);
        let mut words = [0; 7];
        client.read_exact(&mut words).unwrap();
        assert_eq!(&words, b"go away");
        reads_reset(&mut client);
    }
}

/// Writes until nothing is taken any more: every buffer between here and the far end is full.
fn fill(stream: &TcpStream) {
    let mut writer: &TcpStream = stream;
    stream.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let chunk = vec![7; 1 << 20];
    loop {
        match writer.write(&chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A socket that has read the end gets EPIPE where another gets ECONNRESET (`tcp_reset`, `net/ipv4/tcp_input.c`).
fn sees_reset_or_broken_pipe(stream: &TcpStream) {
    let error = super::eventually(|| stream.take_error().unwrap());
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}
