//! Every byte arrives, once, in order, in both directions, in every mode.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
};

use socket2::SockRef;

use super::{Edge, MODES, listen};
use crate::model::SpliceMode;

const MEBIBYTE: usize = 1 << 20;

#[test]
fn sixty_four_mebibytes_both_ways_at_once() {
    for mode in MODES {
        let (origin, address) = listen();
        let mut edge = Edge::with(address, |app| app.splice = mode);
        let (client, server) = edge.pair(&origin);
        thread::scope(|scope| {
            for (stream, seed) in [(&client, 1), (&server, 2)] {
                scope.spawn(move || {
                    send(stream, seed, 64 * MEBIBYTE);
                    stream.shutdown(Shutdown::Write).unwrap();
                });
            }
            scope.spawn(|| expect(&client, 2, 64 * MEBIBYTE));
            scope.spawn(|| expect(&server, 1, 64 * MEBIBYTE));
        });
        let end = edge.last_event();
        assert_eq!((&end["Event"], &end["Status"]), (&"disconnect".into(), &200.into()), "{end}");
        assert_eq!((&end["ClientBytes"], &end["OriginBytes"]), (&(64 << 20).into(), &(64 << 20).into()), "{end}");
        assert_eq!((edge.sum(|s| &s.client_bytes), edge.sum(|s| &s.origin_bytes)), (64 << 20, 64 << 20));
        let spliced = end["extensions"]["spliced_bytes"].as_u64().unwrap();
        match mode {
            SpliceMode::Copy => assert_eq!(spliced, 0),
            SpliceMode::Splice => assert_eq!(spliced, 128 << 20),
            SpliceMode::Auto => assert!(spliced > 64 << 20, "bulk is spliced, {spliced} of 128 MiB were"),
        }
        edge.no_more_events();
    }
}

#[test]
fn one_byte_back_and_forth() {
    for mode in MODES {
        let (origin, address) = listen();
        let edge = Edge::with(address, |app| app.splice = mode);
        let (mut client, mut server) = edge.pair(&origin);
        let mut byte = [0];
        for i in 0..2000_u32 {
            let sent = i.to_le_bytes()[0];
            client.write_all(&[sent]).unwrap();
            server.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [sent]);
            server.write_all(&[!sent]).unwrap();
            client.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [!sent]);
        }
    }
}

#[test]
fn urgent_bytes_keep_their_place() {
    for mode in MODES {
        let (origin, address) = listen();
        let edge = Edge::with(address, |app| app.splice = mode);
        let (client, server) = edge.pair(&origin);
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut writer, mut reader) = (from, to);
            // Enough to count as bulk.
            let bulk = vec![b'.'; 4 * MEBIBYTE];
            thread::scope(|scope| {
                scope.spawn(|| reader.read_exact(&mut vec![0; 4 * MEBIBYTE]).unwrap());
                writer.write_all(&bulk).unwrap();
            });
            SockRef::from(from).send_out_of_band(b"break!").unwrap();
            let mut read = [0; 13];
            reader.read_exact(&mut read[..5]).unwrap();
            // Where bytes are copied, an urgent one that ends a piece waits for the next piece (docs/operations.md, "Limits").
            writer.write_all(b" and on").unwrap();
            reader.read_exact(&mut read[5..]).unwrap();
            assert_eq!(str::from_utf8(&read).unwrap(), "break! and on", "{mode:?}");
            from.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reader.read(&mut read).unwrap(), 0, "{mode:?}");
        }
    }
}

#[test]
fn a_client_that_has_said_everything_still_gets_its_answer() {
    for mode in MODES {
        let (origin, address) = listen();
        let mut edge = Edge::with(address, |app| app.splice = mode);
        let (client, server) = edge.pair(&origin);
        half_closes(&client, &server);
        drop((client, server));
        assert_eq!(edge.last_event()["Status"], 200);
    }
}

#[test]
fn an_origin_that_has_said_everything_still_listens() {
    for mode in MODES {
        let (origin, address) = listen();
        let mut edge = Edge::with(address, |app| app.splice = mode);
        let (client, server) = edge.pair(&origin);
        half_closes(&server, &client);
        drop((client, server));
        assert_eq!(edge.last_event()["Status"], 200);
    }
}

/// `first` speaks and ends; only then `second` speaks at length.
fn half_closes(first: &TcpStream, second: &TcpStream) {
    send(first, 3, 1000);
    first.shutdown(Shutdown::Write).unwrap();
    expect(second, 3, 1000);
    thread::scope(|scope| {
        scope.spawn(|| {
            send(second, 4, 4 * MEBIBYTE);
            second.shutdown(Shutdown::Write).unwrap();
        });
        expect(first, 4, 4 * MEBIBYTE);
    });
}

#[test]
fn a_server_may_speak_first() {
    let (origin, address) = listen();
    let edge = Edge::before(address);
    let (mut client, mut server) = edge.pair(&origin);
    server.write_all(b"220 ready").unwrap();
    let mut greeting = [0; 9];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready");
}

/// Bytes that repeat only after a length that no buffer has.
fn pattern(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..1_000_003).map(|_| next()).collect()
}

fn send(mut stream: &TcpStream, seed: u64, total: usize) {
    let pattern = pattern(seed);
    let mut sent = 0;
    while sent < total {
        let chunk = &pattern[..pattern.len().min(total - sent)];
        stream.write_all(chunk).unwrap();
        sent += chunk.len();
    }
}

/// Exactly these bytes, and then the end.
fn expect(mut stream: &TcpStream, seed: u64, total: usize) {
    let pattern = pattern(seed);
    let mut received = 0;
    let mut buffer = vec![0; pattern.len()];
    while received < total {
        let chunk = &mut buffer[..pattern.len().min(total - received)];
        stream.read_exact(chunk).unwrap();
        assert!(chunk == &pattern[..chunk.len()], "wrong bytes after {received}");
        received += chunk.len();
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "more than was sent");
}
