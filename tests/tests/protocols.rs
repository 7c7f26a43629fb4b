//! What people put behind Spectrum besides pages and shells: mail is in `proxy_protocol.rs`; here files, games, things.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    process::Command,
    thread,
};

use spectrum_tests::{
    World, config, wait,
    world::{EDGE, EDGE_V6, ORIGIN, edge::at, process::Process},
};

#[test]
fn ftp_finds_its_data_connections_on_a_range_of_ports() {
    let world = World::new();
    let vsftpd = world.origin().vsftpd();
    let app = config().app("tcp/21").on(&[EDGE, EDGE_V6]).origin(vsftpd.addr());
    let edge =
        world.edge().run(app.app("tcp/40000-40009").on(&[EDGE, EDGE_V6]).origin(format!("{ORIGIN}:40000-40009")));
    for address in [edge.at(21), edge.at_v6(21)] {
        // A connection for the listing, and one for each file.
        let listing = world.client().curl(&format!("ftp://{address}/"));
        assert!(listing.contains("large"), "{listing}");
        // The answer that names a port alone, which is right behind any edge; that of PASV would name the origin's address.
        let output = world.client().output("curl", &["--verbose", "--max-time", "20", &format!("ftp://{address}/")]);
        let spoken = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(spoken.contains("< 229 ") && !spoken.contains("> PASV"), "{spoken}");
        let file = world.client().curl(&format!("ftp://{address}/large"));
        assert_eq!((file.len(), file.bytes().all(|byte| byte == b'f')), (3_000_000, true));
    }
}

#[test]
fn mqtt_delivers_what_is_published() {
    let world = World::new();
    let mosquitto = world.origin().mosquitto();
    let edge = world.edge().run(config().app("tcp/1883").origin(mosquitto.addr()));
    let host = edge.at(1883).ip().to_string();
    let mut subscriber = Command::new("mosquitto_sub");
    subscriber.args(["-h", &host, "-t", "sensors/#", "-v", "-q", "1"]);
    let mut subscriber = Process::start(world.client().namespace(), "mosquitto_sub", subscriber);
    // Kept by the broker, so it does not matter who is first.
    world.client().stdout("mosquitto_pub", &["-h", &host, "-t", "sensors/a", "-m", "21.5", "-r", "-q", "1"]);
    subscriber.await_line("sensors/a 21.5");
    world.client().stdout("mosquitto_pub", &["-h", &host, "-t", "sensors/b", "-m", "live", "-q", "2"]);
    subscriber.await_line("sensors/b live");
}

const STATUS: &str =
    r#"{"version":{"name":"1.21","protocol":767},"players":{"max":20,"online":3},"description":"a world"}"#;

#[test]
fn minecraft_shows_its_status_and_answers_a_ping() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    let edge = world.edge().run(config().app("minecraft").origin(origin));
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
        let handshake = receive(&mut stream).unwrap();
        assert_eq!(receive(&mut stream).unwrap(), [0], "a request for the status");
        send(&mut stream, &[&[0], &string(STATUS)[..]].concat()).unwrap();
        let ping = receive(&mut stream).unwrap();
        send(&mut stream, &ping).unwrap();
        handshake
    });
    let mut client = world.client().connect(at(EDGE, 25565)).unwrap();
    let hello = [&[0][..], &varint(767), &string("mc.example.com"), &25565_u16.to_be_bytes(), &varint(1)].concat();
    send(&mut client, &hello).unwrap();
    send(&mut client, &[0]).unwrap();
    assert_eq!(receive(&mut client).unwrap(), [&[0], &string(STATUS)[..]].concat());
    let ping = [&[1][..], &0x0123_4567_89ab_cdef_u64.to_be_bytes()].concat();
    send(&mut client, &ping).unwrap();
    assert_eq!(receive(&mut client).unwrap(), ping);
    assert_eq!(server.join().unwrap(), hello);
    drop(edge);
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [&varint(u32::try_from(text.len()).unwrap()), text.as_bytes()].concat()
}

/// One packet of Minecraft's: its length, then its bytes.
fn send(stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
    stream.write_all(&[&varint(u32::try_from(packet.len()).unwrap()), packet].concat())
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet)?;
    Ok(packet)
}
