//! Applications that share an address and a port, and clients of TLS that choose among them by name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE,
        config::Config,
        edge::{Daemon, at},
        pki::{Authority, Signed, node_tls},
    },
};
use spectrum_user::tls::{Peer, provider};

const EVENTS: &str = "[events]\nfile = \"/mnt/events.jsonl\"\n";
const ROOT: &str = "/mnt/root.crt";
/// Chosen by name where TLS passes through, and where it ends at the edge.
const THROUGH: &str = "mail.example.com";
const ENDED: &str = "db.example.com";

fn node() -> Config {
    config().raw(EVENTS).raw(&node_tls(""))
}

fn events(world: &World) -> Vec<Value> {
    let text = world.edge().namespace().run(|| fs::read_to_string("/mnt/events.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How a connection of this application ended.
fn await_end(world: &World, hostname: &str, status: u64, reason: &str) {
    let is_it = |event: &Value| {
        event["extensions"]["hostname"] == hostname
            && event["Status"] == status
            && event["extensions"]["reason"] == reason
    };
    let found = wait::within(wait::DEADLINE, || events(world).iter().any(is_it).then_some(()));
    found.unwrap_or_else(|| panic!("no end of {hostname} with {status} {reason} among {:#?}", events(world)));
}

/// The first bytes of a client that asks for this name.
fn hello(name: &'static str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(provider(Peer::Origin)).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

/// The same in records of a few bytes each.
fn in_small_records(hello: &[u8]) -> Vec<u8> {
    let piece = |piece: &[u8]| [&[0x16, 3, 1, 0, u8::try_from(piece.len()).unwrap()], piece].concat();
    hello[5..].chunks(7).flat_map(piece).collect()
}

fn send(world: &World, bytes: &[u8]) -> TcpStream {
    let mut client = world.client().connect(at(EDGE, 443)).unwrap();
    client.set_nodelay(true).unwrap();
    client.write_all(bytes).unwrap();
    client
}

/// Everything that the other side says until it is done.
fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    bytes
}

/// Exactly these bytes come to the origin.
fn assert_arrives(listener: &TcpListener, sent: &[u8]) {
    let (mut accepted, _) = listener.accept().unwrap();
    let mut arrived = vec![0; sent.len()];
    accepted.read_exact(&mut arrived).unwrap();
    assert_eq!(arrived, sent);
}

/// What the kernel and the process hold for one address and port.
struct Shared {
    world: World,
    origin: TcpListener,
    text: Config,
}

/// One application through which TLS passes, for [`THROUGH`] and below `*.through.example.com`; nobody for other names.
fn alone() -> Shared {
    patient("2s")
}

/// The same, and clients have so long to say what they want.
fn patient(patience: &str) -> Shared {
    let world = World::new();
    let (origin, address) = world.origin().listen();
    let names = format!("[\"{THROUGH}\", \"*.through.example.com\"]");
    let text = node().app("tcp/443").origin(address).extension("sni", &names);
    let text = text.extension("handshake_timeout", &format!("\"{patience}\""));
    Shared { world, origin, text }
}

const fn alert(description: u8) -> [u8; 7] {
    [0x15, 3, 3, 0, 2, 2, description]
}

#[test]
fn each_name_has_its_own_application_on_one_address_and_port() {
    let world = World::new();
    let authority = Authority::new("an authority of a test");
    authority.publish(world.edge(), "root.crt");
    let (own, at_edge, other) = (authority.sign(THROUGH), authority.sign(ENDED), Signed::by_itself("rest.example.com"));
    world.edge().certify(ENDED, &at_edge);
    let through = world.origin().nginx_tls(world.edge(), 8443, &own, "through", "");
    let rest = world.origin().nginx_tls(world.edge(), 8444, &other, "the rest", "");
    let plain = world.origin().nginx();
    let text = node()
        .app("tcp/443")
        .origin(through.addr())
        .extension("sni", &format!("[\"{THROUGH}\"]"))
        .app("tcp/443")
        .origin(plain.addr())
        .line("tls = \"flexible\"")
        .extension("sni", &format!("[\"{ENDED}\"]"))
        .app("tcp/443")
        .origin(rest.addr());
    let edge = world.edge().run(text);
    let ask = |name: &[&str]| world.client().s_client(edge.at(443), &[name, &["-CAfile", ROOT]].concat());
    for version in ["-tls1_2", "-tls1_3"] {
        let said = ask(&["-servername", THROUGH, version]);
        assert!(own.is_shown_in(&said) && said.contains("\nthrough"), "{said}");
        let said = ask(&["-servername", &ENDED.to_uppercase(), version]);
        assert!(at_edge.is_shown_in(&said) && said.contains("hello from nginx"), "{said}");
        for name in [&["-servername", "who.example.com"][..], &["-noservername"]] {
            let said = ask(&[name, &[version]].concat());
            assert!(other.is_shown_in(&said) && said.contains("the rest"), "{said}");
        }
    }
    for (hostname, times) in [("app1.example.com", 2), ("app2.example.com", 2), ("app3.example.com", 4)] {
        wait::eventually("each application has its own connections", || {
            let of_it = |event: &&Value| event["extensions"]["hostname"] == hostname && event["Event"] == "connect";
            (events(&world).iter().filter(of_it).count() == times).then_some(())
        });
    }
    // It has no name, and no TLS: it is for whoever takes what is left.
    let plain = world.client().output("curl", &["--silent", "--http0.9", &format!("http://{EDGE}:443/")]);
    assert!(String::from_utf8_lossy(&plain.stdout).contains("plain HTTP request was sent to HTTPS port"));
    edge.assert_idle();
}

#[test]
fn not_a_byte_is_changed_however_a_hello_comes() {
    let Shared { world, origin, text } = alone();
    let _edge = world.edge().run(text);
    for name in [THROUGH, "a.through.example.com"] {
        let whole = hello(name);
        let _client = send(&world, &whole);
        assert_arrives(&origin, &whole);
        let pieces = in_small_records(&whole);
        let _client = send(&world, &pieces);
        assert_arrives(&origin, &pieces);
        // With what comes behind it.
        let more = [&whole[..], &vec![7; 100_000]].concat();
        let client = send(&world, &more);
        assert_arrives(&origin, &more);
        drop(client);
    }
    let whole = hello(THROUGH);
    let mut client = send(&world, &whole[..1]);
    for byte in &whole[1..] {
        client.write_all(&[*byte]).unwrap();
    }
    // It has said all it will say, and is still owed an answer.
    client.shutdown(Shutdown::Write).unwrap();
    assert_arrives(&origin, &whole);
}

#[test]
fn a_name_that_is_nobodys_is_refused_in_words_of_tls() {
    let Shared { world, origin: _origin, text } = alone();
    let edge = world.edge().run(text);
    let other = read_all(send(&world, &hello("other.example.com")));
    assert_eq!(other, alert(112));
    await_end(&world, "app1.example.com", 400, "client_asks_for_another_name");
    let event = events(&world).into_iter().find(|event| event["Status"] == 400).unwrap();
    assert_eq!(event["ClientTlsClientHelloServerName"], "other.example.com");
    assert_eq!(event["ClientTlsStatus"], "INVALID_SNI");
    let said = world.client().s_client(edge.at(443), &["-noservername"]);
    assert!(said.contains("unrecognized name"), "{said}");
    edge.assert_idle();
}

#[test]
fn what_is_no_hello_is_ended_in_time_and_counted() {
    let Shared { world, origin: _origin, text } = alone();
    let edge = world.edge().run(text);
    let hello = hello(THROUGH);
    let oversized = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &vec![0; 20_000]].concat();
    for (bytes, answer, reason) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Some(10), "client_speaks_no_tls"),
        (&[0x16, 9, 1, 0, 1, 1], Some(70), "client_speaks_no_tls"),
        (&oversized, Some(50), "client_handshake_too_long"),
        (&hello[..100], None, "client_handshake_timeout"),
        (&[], None, "client_handshake_timeout"),
    ] {
        let begun = Instant::now();
        let answered = read_all(send(&world, bytes));
        assert_eq!(answered, answer.map(alert).map(Vec::from).unwrap_or_default(), "{reason}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{reason}: {:?}", begun.elapsed());
        await_end(&world, "app1.example.com", 443, reason);
    }
    let client = send(&world, &hello[..100]);
    client.shutdown(Shutdown::Write).unwrap();
    read_all(client);
    await_end(&world, "app1.example.com", 443, "client_handshake_broken");
    edge.assert_idle();
}

#[test]
fn who_says_nothing_takes_no_more_places_than_a_handshake() {
    let Shared { world, origin, text } = patient("30s");
    let _edge = world.edge().run(text.raw("max_handshakes_per_ip = 3\n"));
    let silent: Vec<_> = (0..3).map(|_| send(&world, &[])).collect();
    wait::eventually("there is no place for a fourth", || {
        drop(world.client().connect(at(EDGE, 443)).map(read_all));
        let refused = |event: &Value| event["extensions"]["reason"] == "max_handshakes_per_ip";
        events(&world).iter().any(refused).then_some(())
    });
    drop(silent);
    wait::eventually("there is again", || {
        let _client = send(&world, &hello(THROUGH));
        origin.set_nonblocking(true).unwrap();
        origin.accept().ok()
    });
}

#[test]
fn a_blocked_client_is_asked_for_no_name() {
    let Shared { world, origin: _origin, text } = alone();
    let edge = world
        .edge()
        .run(text.node("xdp_mode", "\"off\"").node("interfaces", "[]").ip_firewall().block(&CLIENT.to_string()));
    let begun = Instant::now();
    // The reset may be there before the connection is.
    if let Ok(client) = world.client().connect(at(EDGE, 443)) {
        assert!(read_all(client).is_empty());
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited for a hello");
    await_end(&world, "app1.example.com", 403, "denied");
    drop(edge);
}

#[test]
fn names_move_in_a_reload_and_open_connections_stay() {
    let world = World::new();
    let (first, second) = (world.origin().named(&[4001]), world.origin().named(&[4002]));
    let text = |one: &str, two: &str| {
        let text = node().app("tcp/443").origin(first.addr()).extension("sni", one);
        text.app("tcp/443").origin(second.addr()).extension("sni", two)
    };
    let (a, b) = ("[\"a.example.com\"]", "[\"b.example.com\"]");
    let mut edge = world.edge().run(text(a, b));
    let before = send(&world, &hello("a.example.com"));
    wait::eventually("it is the first one's", || (first.accepted() == 1).then_some(()));
    edge.reload(text(b, a));
    let after = send(&world, &hello("a.example.com"));
    wait::eventually("the name has moved", || (second.accepted() == 1).then_some(()));
    assert_eq!(first.accepted(), 1);
    assert_stays(&edge, before);
    assert_stays(&edge, after);
}

/// It is open, and was not touched.
fn assert_stays(edge: &Daemon<'_>, mut stream: TcpStream) {
    assert!(edge.pid() > 0);
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => panic!("it was ended"),
            Ok(_) => {}
            Err(error) => return assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
    }
}
