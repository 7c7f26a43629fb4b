//! What arrives where a handshake should, and is none: each is ended in time, answered as RFC 8446 asks, and leaves nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::pem::PemObject as _};
use serde_json::Value;
use spectrum_tests::{
    World, config,
    hello::{Hello, record},
    wait,
    world::{
        CLIENT, EDGE, SHUNNED,
        config::Config,
        edge::{Daemon, at},
        pki::{Authority, HOST, node_tls},
        server::Server,
    },
};
use spectrum_user::tls::{Peer, provider};

const REST: &str = "[events]\nfile = \"/mnt/events.jsonl\"\n[metrics]\nlisten = \"127.0.0.1:9464\"\n";

struct Scene {
    world: World,
    authority: Authority,
    origin: Server,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = Authority::new("an authority of a test");
    world.edge().certify(HOST, &authority.sign(HOST));
    Scene { origin: world.origin().echo(), world, authority }
}

impl Scene {
    fn app(&self, tls: &str) -> Config {
        let node = config().raw(REST).raw(&node_tls(tls));
        node.app("tcp/443").origin(self.origin.addr()).line("tls = \"flexible\"")
    }

    fn session(&self) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        let root = rustls::pki_types::CertificateDer::from_pem_slice(self.authority.pem().as_bytes());
        roots.add(root.unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(provider(Peer::Origin)).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        ClientConnection::new(Arc::new(config), HOST.try_into().unwrap()).unwrap()
    }

    fn connect(&self) -> TcpStream {
        self.world.client().connect(at(EDGE, 443)).unwrap()
    }

    /// Whether an ordinary client is served.
    fn serves(&self) {
        let mut client = StreamOwned::new(self.session(), self.connect());
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        client.conn.send_close_notify();
        client.flush().unwrap();
    }

    fn reasons(&self) -> Vec<String> {
        let text = self.world.edge().namespace().run(|| fs::read_to_string("/mnt/events.jsonl")).unwrap_or_default();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ends = events.filter(|event| event["Event"] != "connect");
        ends.map(|event| event["extensions"]["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn await_reason(&self, reason: &str) {
        let found = wait::within(wait::DEADLINE, || self.reasons().iter().any(|one| one == reason).then_some(()));
        found.unwrap_or_else(|| panic!("{reason} is not among {:?}", self.reasons()));
    }

    /// Waits until nothing is open any more, and the process has as many descriptors as before.
    fn await_nothing_left(&self, edge: &Daemon<'_>, before: usize) {
        wait::eventually("no connection is open", || {
            let metrics = self.world.edge().stdout("curl", &["--silent", "--fail", "http://127.0.0.1:9464/metrics"]);
            let mut active = metrics.lines().filter(|line| line.starts_with("spectrum_connections_active"));
            active.all(|line| line.ends_with(" 0")).then_some(())
        });
        let left = wait::within(Duration::from_secs(20), || (descriptors(edge) <= before).then_some(()));
        left.unwrap_or_else(|| panic!("{} descriptors, {before} before", descriptors(edge)));
    }
}

fn descriptors(edge: &Daemon<'_>) -> usize {
    fs::read_dir(format!("/proc/{}/fd", edge.pid())).unwrap().count()
}

/// The ClientHello of an ordinary client.
fn hello(scene: &Scene) -> Vec<u8> {
    let mut bytes = Vec::new();
    scene.session().write_tls(&mut bytes).unwrap();
    bytes
}

/// Until the other side is done, whatever it says.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    bytes
}

#[test]
fn a_handshake_of_one_byte_at_a_time_ends_at_its_deadline() {
    let scene = scene();
    let edge = scene.world.edge().run(scene.app("").extension("handshake_timeout", "\"2s\""));
    scene.serves();
    let before = descriptors(&edge);
    let (mut client, begun) = (scene.connect(), Instant::now());
    for byte in hello(&scene) {
        // The pauses are what this is about.
        wait::pause(Duration::from_millis(300));
        if client.write_all(&[byte]).is_err() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it goes on and on");
    }
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    scene.await_reason("client_handshake_timeout");
    drop(client);
    scene.await_nothing_left(&edge, before);
}

#[test]
fn a_hello_of_one_byte_in_each_segment_is_taken() {
    let scene = scene();
    let _edge = scene.world.edge().run(scene.app(""));
    let mut client = StreamOwned::new(scene.session(), scene.connect());
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).unwrap();
    for byte in hello {
        client.sock.write_all(&[byte]).unwrap();
    }
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn who_goes_away_in_any_phase_leaves_nothing() {
    let scene = scene();
    let edge = scene.world.edge().run(scene.app(""));
    scene.serves();
    let before = descriptors(&edge);
    let hello = hello(&scene);
    for reset in [false, true] {
        let leave = |stream: TcpStream| {
            if reset {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(stream);
        };
        for length in [0, 1, 5, 6, hello.len() / 2, hello.len() - 1, hello.len()] {
            let mut client = scene.connect();
            client.write_all(&hello[..length]).unwrap();
            leave(client);
        }
        // Half-closed: the edge answers, and does not wait for more.
        let mut half = scene.connect();
        half.write_all(&hello[..20]).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        drop(read_all(&mut half));
        // With the answer read, and nothing said to it.
        let mut client = scene.connect();
        client.write_all(&hello).unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        leave(client);
        // After the handshake, in the midst of a record.
        let mut client = StreamOwned::new(scene.session(), scene.connect());
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        client.sock.write_all(&[0x17, 3, 3, 0x10, 0, 1, 2, 3]).unwrap();
        leave(client.sock);
    }
    scene.await_nothing_left(&edge, before);
    scene.serves();
}

#[test]
fn garbage_and_too_much_of_it_is_ended() {
    let scene = scene();
    let edge = scene.world.edge().run(scene.app(""));
    scene.serves();
    let before = descriptors(&edge);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..100 {
        let mut client = scene.connect();
        let bytes: Vec<u8> = (0..random.usize(5..5000)).map(|_| random.u8(..)).collect();
        drop(client.write_all(&bytes));
        drop(client.shutdown(Shutdown::Write));
        drop(read_all(&mut client));
    }
    // A hello that is damaged in one place: whatever comes of it, it ends.
    let hello = hello(&scene);
    for _ in 0..200 {
        let mut bytes = hello.clone();
        let place = random.usize(..bytes.len());
        bytes[place] ^= random.u8(1..);
        let mut client = scene.connect();
        drop(client.write_all(&bytes));
        drop(client.shutdown(Shutdown::Write));
        drop(read_all(&mut client));
    }
    // A hello of 16 MiB, as its header says.
    let mut client = scene.connect();
    let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff, 3, 3];
    record.resize(5 + 0x4000, 0);
    let mut sent = 0;
    while client.write_all(&record).is_ok() {
        sent += record.len();
        assert!(sent < 64 << 20, "it is read and read");
        record[5..11].fill(0);
    }
    drop(client);
    scene.await_nothing_left(&edge, before);
    scene.serves();
}

#[test]
fn a_client_that_renegotiates_is_refused_and_nobody_else_notices() {
    let scene = scene();
    let mut edge = scene.world.edge().run(scene.app(""));
    scene.serves();
    let before = descriptors(&edge);
    let said = scene.world.client().s_client_after(
        "echo R; sleep 3",
        at(EDGE, 443),
        &["-servername", HOST, "-tls1_2", "-legacy_renegotiation"],
    );
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    edge.process().must_run();
    scene.serves();
    scene.await_nothing_left(&edge, before);
}

#[test]
fn thousands_of_handshakes_that_one_address_leaves_open_cost_others_nothing() {
    let scene = scene();
    let edge = scene.app("max_handshakes_per_ip = 20").extension("handshake_timeout", "\"20s\"");
    let edge = scene.world.edge().run(edge);
    scene.serves();
    let before = descriptors(&edge);
    let client = scene.world.client();
    let (mut open, mut opened) = (Vec::new(), 0);
    let hello = hello(&scene);
    for _ in 0..2000 {
        // Most are refused, some before the client has taken notice that it is connected.
        opened += 1;
        let Ok(mut stream) = client.connect_from(SHUNNED, at(EDGE, 443)) else { continue };
        drop(stream.write_all(&hello[..40]));
        open.push(stream);
    }
    scene.await_reason("max_handshakes_per_ip");
    wait::eventually("only twenty are left", || {
        let refused = scene.reasons().iter().filter(|reason| *reason == "max_handshakes_per_ip").count();
        (refused == opened - 20).then_some(())
    });
    assert!(descriptors(&edge) < before + 50, "{} descriptors, {before} before", descriptors(&edge));
    scene.serves();
    drop(open);
    scene.await_nothing_left(&edge, before);
}

#[test]
fn where_all_places_are_taken_the_oldest_handshake_goes() {
    let scene = scene();
    let edge = scene.app("max_handshakes = 4").node("workers", "1");
    let _edge = scene.world.edge().run(edge.extension("handshake_timeout", "\"50s\""));
    let mut oldest = scene.world.client().connect_from(CLIENT, at(EDGE, 443)).unwrap();
    oldest.write_all(&[0x16]).unwrap();
    let open: Vec<_> = (0..3).map(|_| scene.connect()).collect();
    // The next one may be refused, as early as it connects: it makes the place for those behind it.
    let next = scene.world.client().connect(at(EDGE, 443));
    let next = next.and_then(|mut next| next.write_all(&hello(&scene)).map(|()| next));
    assert!(read_all(&mut oldest).is_empty());
    scene.await_reason("handshake_shed");
    scene.serves();
    drop((open, next));
}

/// The alert that comes back in clear, if one does.
fn alert(scene: &Scene, bytes: &[u8]) -> Option<u8> {
    let mut client = scene.connect();
    client.write_all(bytes).unwrap();
    drop(client.shutdown(Shutdown::Write));
    let answer = read_all(&mut client);
    // What is before it may be a ServerHello; an alert behind that is encrypted.
    (answer.len() == 7 && answer[..2] == [0x15, 3]).then(|| answer[6])
}

const UNEXPECTED_MESSAGE: u8 = 10;
const RECORD_OVERFLOW: u8 = 22;
const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const MISSING_EXTENSION: u8 = 109;
/// It ends, and nothing is said. No alert has this number.
const NOTHING: u8 = 255;

#[test]
fn each_kind_of_bad_record_gets_its_alert() {
    let scene = scene();
    let _edge = scene.world.edge().run(scene.app(""));
    let message = Hello::new().message();
    let longer = {
        // Its length counts a byte that no part of it has.
        let mut message = message.clone();
        message.push(0);
        let length = u16::try_from(message.len() - 4).unwrap().to_be_bytes();
        message[2..4].copy_from_slice(&length);
        record(0x16, &message)
    };
    // First what RFC 8446 asks for, then what rustls says instead.
    let cases: Vec<(&str, Vec<u8>, &[u8])> = vec![
        ("data before a handshake", record(0x17, b"hello"), &[UNEXPECTED_MESSAGE]),
        ("a ServerHello", record(0x16, &[&[2], &message[1..]].concat()), &[UNEXPECTED_MESSAGE]),
        ("a Finished", record(0x16, &[&[20, 0, 0, 12][..], &[1; 12]].concat()), &[UNEXPECTED_MESSAGE]),
        ("a kind of record that there is not", record(0x63, b"hello"), &[UNEXPECTED_MESSAGE]),
        ("a record of more than 2^14 + 2048 bytes", vec![0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 1], &[RECORD_OVERFLOW]),
        ("a byte behind the extensions", longer, &[DECODE_ERROR]),
        ("a session of 33 bytes", Hello::with(|hello| hello.session = vec![1; 33]), &[DECODE_ERROR, ILLEGAL_PARAMETER]),
        ("no compression that is none", Hello::with(|hello| hello.compression = vec![1]), &[ILLEGAL_PARAMETER]),
        ("no suite in common", Hello::with(|hello| hello.suites = vec![0x0005]), &[HANDSHAKE_FAILURE]),
        (
            "no group in common",
            Hello::with(|hello| {
                hello.set(10, Some(vec![0, 2, 0, 30]));
                hello.set(51, Some(vec![0, 0]));
            }),
            &[HANDSHAKE_FAILURE],
        ),
        ("only TLS 1.1", Hello::with(|hello| hello.set(43, Some(vec![2, 3, 2]))), &[PROTOCOL_VERSION]),
        ("TLS 1.1 as it was", Hello::old(2), &[PROTOCOL_VERSION]),
        ("TLS 1.0 as it was", Hello::old(1), &[PROTOCOL_VERSION]),
        (
            "TLS 1.1 with signature algorithms and suites of its own",
            Hello::with(|hello| {
                hello.suites = vec![0xc013, 0x002f];
                hello.set(43, Some(vec![2, 3, 2]));
            }),
            &[PROTOCOL_VERSION],
        ),
        ("TLS 1.2 without signature_algorithms", Hello::with(|hello| hello.only(&[10, 23])), &[HANDSHAKE_FAILURE]),
        ("TLS 1.3 without key_share", Hello::with(|hello| hello.set(51, None)), &[MISSING_EXTENSION]),
        ("TLS 1.3 without supported_groups", Hello::with(|hello| hello.set(10, None)), &[MISSING_EXTENSION]),
        ("TLS 1.3 without signature_algorithms", Hello::with(|hello| hello.set(13, None)), &[MISSING_EXTENSION]),
        ("TLS 1.3 with nothing but its version", Hello::with(|hello| hello.only(&[43])), &[MISSING_EXTENSION]),
        (
            "nothing but TLS 1.3 without key_share",
            Hello::with(|hello| {
                hello.set(43, Some(vec![2, 3, 4]));
                hello.set(51, None);
            }),
            &[MISSING_EXTENSION],
        ),
        (
            "an extension twice",
            Hello::with(|hello| hello.extensions.push((23, vec![]))),
            &[ILLEGAL_PARAMETER, DECODE_ERROR],
        ),
        (
            "a key share that is too short",
            Hello::with(|hello| {
                hello.set(51, Some([&[0, 35, 0, 29, 0, 31][..], &[9; 31]].concat()));
            }),
            &[ILLEGAL_PARAMETER],
        ),
        (
            "a name of a host that is none",
            Hello::with(|hello| {
                hello.set(0, Some([&[0, 6, 0, 0, 3][..], b"a b"].concat()));
            }),
            &[ILLEGAL_PARAMETER, DECODE_ERROR],
        ),
    ];
    let answers = cases.iter().map(|(what, bytes, wanted)| (what, alert(&scene, bytes), wanted));
    let wrong: Vec<_> = answers.filter(|(_, got, wanted)| !wanted.contains(&got.unwrap_or(NOTHING))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The same hello with nothing wrong gets an answer.
    assert_eq!(alert(&scene, &Hello::with(|_| ())), None);
    scene.serves();
}

#[test]
fn a_finished_that_is_not_authentic_is_a_bad_record() {
    let scene = scene();
    let _edge = scene.world.edge().run(scene.app(""));
    let mut session = scene.session();
    let mut client = scene.connect();
    session.write_tls(&mut client).unwrap();
    while session.is_handshaking() {
        session.read_tls(&mut client).unwrap();
        session.process_new_packets().unwrap();
    }
    let mut finished = Vec::new();
    session.write_tls(&mut finished).unwrap();
    *finished.last_mut().unwrap() ^= 1;
    client.write_all(&finished).unwrap();
    let error = loop {
        assert!(session.read_tls(&mut client).unwrap() > 0, "it ends without an alert");
        if let Err(error) = session.process_new_packets() {
            break error;
        }
    };
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    scene.await_reason("client_handshake_failed");
}

#[test]
fn an_origin_whose_answer_cannot_be_read_gets_its_alert() {
    let scene = scene();
    let (listener, origin) = scene.world.origin().listen();
    let node = config().raw(REST).raw(&node_tls(""));
    let _edge = scene.world.edge().run(node.app("tcp/443").origin(origin).line("tls = \"full\""));
    let mut client = StreamOwned::new(scene.session(), scene.connect());
    client.write_all(b"hello").unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let mut head = [0; 5];
    accepted.read_exact(&mut head).unwrap();
    accepted.read_exact(&mut vec![0; u16::from_be_bytes([head[3], head[4]]).into()]).unwrap();
    // A ServerHello of four bytes, of which a random has 32.
    accepted.write_all(&record(0x16, &[2, 0, 0, 4, 3, 3, 1, 1])).unwrap();
    assert_eq!(read_all(&mut accepted), [0x15, 3, 3, 0, 2, 2, DECODE_ERROR]);
    scene.await_reason("origin_speaks_no_tls");
}
