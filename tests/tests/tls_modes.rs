//! TLS modes with the distribution's clients and origins: who ends it, and what origins must show.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::TLS13,
};
use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, EDGE_V6,
        config::Config,
        edge::at,
        pki::{Authority, HOST, Signed, node_tls},
    },
};
use spectrum_user::tls::{Peer, provider};

const EVENTS: &str = "[events]\nfile = \"/mnt/events.jsonl\"\n";
const ROOT: &str = "/mnt/root.crt";

/// An authority whose root clients know, and a certificate of it at the edge.
fn pki(world: &World) -> Authority {
    let authority = Authority::new("an authority of a test");
    authority.publish(world.edge(), "root.crt");
    world.edge().certify(HOST, &authority.sign(HOST));
    authority
}

fn app(origin: SocketAddr, mode: &str) -> Config {
    let node = config().raw(EVENTS).raw(&node_tls(""));
    node.app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin).line(&format!("tls = \"{mode}\""))
}

fn events(world: &World) -> Vec<Value> {
    let text = world.edge().namespace().run(|| std::fs::read_to_string("/mnt/events.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn await_event(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    wait::eventually("an event is written", || events(world).into_iter().find(&wanted))
}

/// A page over HTTPS, or what curl says of it.
fn https(world: &World, more: &[&str]) -> Result<String, String> {
    let (resolve, url) = (format!("{HOST}:443:{EDGE}"), format!("https://{HOST}/hello"));
    let base =
        ["--silent", "--show-error", "--fail", "--max-time", "20", "--cacert", ROOT, "--resolve", &resolve, &url];
    let output = world.client().output("curl", &[&base, more].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn off_leaves_tls_to_the_origin_whose_certificate_the_client_sees() {
    let world = World::new();
    let authority = pki(&world);
    let own = authority.sign(HOST);
    let nginx = world.origin().nginx_tls(world.edge(), 8443, &own, "from the origin", "");
    let edge = world.edge().run(app(nginx.addr(), "off"));
    for version in ["-tls1_2", "-tls1_3"] {
        let said = world.client().s_client(edge.at(443), &["-servername", HOST, "-CAfile", ROOT, version]);
        assert!(own.is_shown_in(&said) && said.contains("from the origin"), "{said}");
    }
    assert_eq!(https(&world, &[]).unwrap(), "from the origin\n");
}

#[test]
fn off_changes_no_byte_of_a_hello_nor_of_what_is_no_tls() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    let edge = world.edge().run(app(origin, "off"));
    let config = ClientConfig::builder_with_provider(provider(Peer::Origin)).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut hello = Vec::new();
    let mut session = ClientConnection::new(Arc::new(config), HOST.try_into().unwrap()).unwrap();
    session.write_tls(&mut hello).unwrap();
    for bytes in [hello, b"SSH-2.0-client\r\n".to_vec()] {
        let mut client = world.client().connect(edge.at(443)).unwrap();
        client.write_all(&bytes).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let mut arrived = vec![0; bytes.len()];
        accepted.read_exact(&mut arrived).unwrap();
        assert_eq!(arrived, bytes);
    }
}

#[test]
fn flexible_puts_tls_before_a_redis_that_knows_nothing_of_it() {
    let world = World::new();
    pki(&world);
    let redis = world.origin().redis();
    let edge = world.edge().run(app(redis.addr(), "flexible"));
    let host = edge.at(443).ip().to_string();
    let base = ["-h", &host, "-p", "443", "--tls", "--cacert", ROOT, "--sni", HOST];
    let cli = |arguments: &[&str]| world.client().stdout("redis-cli", &[&base, arguments].concat());
    assert_eq!(cli(&["set", "key", "value"]), "OK\n");
    assert_eq!(cli(&["get", "key"]), "value\n");
    let large = "x".repeat(60_000);
    assert_eq!(cli(&["set", "large", &large]), "OK\n");
    assert_eq!(cli(&["get", "large"]).trim_end(), large);
}

#[test]
fn flexible_serves_https_on_both_families() {
    let world = World::new();
    pki(&world);
    let nginx = world.origin().nginx();
    let edge = world.edge().run(app(nginx.addr(), "flexible"));
    assert_eq!(https(&world, &[]).unwrap(), "hello from nginx\n");
    let said =
        world.client().s_client(edge.at_v6(443), &["-servername", HOST, "-CAfile", ROOT, "-verify_return_error"]);
    assert!(said.contains("hello from nginx") && said.contains("Verify return code: 0 (ok)"), "{said}");
    let event = await_event(&world, |event| event["Event"] == "disconnect");
    assert_eq!((&event["ClientTlsStatus"], &event["OriginTlsMode"]), (&"OK".into(), &"flexible".into()));
}

#[test]
fn strict_believes_whom_origin_ca_vouches_for_and_full_everybody() {
    let world = World::new();
    let authority = pki(&world);
    let stranger = Authority::new("a stranger");
    let cases = [
        (authority.sign(HOST), None),
        (authority.intermediate("one between").sign_rsa(HOST), None),
        (Signed::by_itself(HOST), Some("origin_certificate_self_signed")),
        (authority.sign_expired(HOST), Some("origin_certificate_expired")),
        (authority.sign("other.example.com"), Some("origin_certificate_wrong_name")),
        (stranger.sign(HOST), Some("origin_certificate_unknown_ca")),
    ];
    for (number, (signed, fault)) in (0..).zip(cases) {
        let nginx = world.origin().nginx_tls(world.edge(), 8440 + number, &signed, "in private", "");
        for mode in ["full", "strict"] {
            world.edge().namespace().write("events.jsonl", "");
            let _edge = world.edge().run(app(nginx.addr(), mode).extension("origin_ca", &format!("\"{ROOT}\"")));
            let page = https(&world, &[]);
            if let ("strict", Some(fault)) = (mode, fault) {
                assert!(page.is_err(), "{fault}");
                let event = await_event(&world, |event| event["Event"] == "originError");
                assert_eq!((&event["extensions"]["reason"], &event["Status"]), (&fault.into(), &521.into()));
            } else {
                assert_eq!(page.as_deref(), Ok("in private\n"), "{mode} {fault:?}");
                let event = await_event(&world, |event| event["Event"] == "disconnect");
                assert_eq!(event["extensions"]["origin_certificate_fault"].as_str(), fault, "{mode}");
                assert_eq!(event["OriginTlsProtocol"], "TLSv1.3", "{mode}");
            }
        }
    }
}

#[test]
fn an_origin_that_asks_who_is_there_is_shown_origin_certificate() {
    let world = World::new();
    let authority = pki(&world);
    let asks = format!("ssl_client_certificate {ROOT}; ssl_verify_client on;");
    let answer = "$ssl_client_s_dn";
    let nginx = world.origin().nginx_tls(world.edge(), 8443, &authority.sign(HOST), answer, &asks);
    let (chain, key) = authority.sign_client("edge.example.com").publish(world.edge(), "shown");
    let plain = app(nginx.addr(), "strict").extension("origin_ca", &format!("\"{ROOT}\""));
    {
        let _edge = world.edge().run(&plain);
        let error = https(&world, &[]).unwrap_err();
        assert!(error.contains("400"), "{error}");
    }
    let shows = plain.extension("origin_certificate", &format!("\"{chain}\""));
    let _edge = world.edge().run(shows.extension("origin_key", &format!("\"{key}\"")));
    assert!(https(&world, &[]).unwrap().contains("edge.example.com"));
}

#[test]
fn clients_without_a_certificate_that_client_ca_vouches_for_are_turned_away() {
    let world = World::new();
    let authority = pki(&world);
    let nginx = world.origin().nginx();
    let edge = app(nginx.addr(), "flexible").extension("client_ca", &format!("\"{ROOT}\""));
    let _edge = world.edge().run(edge);
    let shown = |signed: &Signed, name: &str| {
        let (chain, key) = signed.publish(world.edge(), name);
        https(&world, &["--cert", &chain, "--key", &key])
    };
    assert_eq!(shown(&authority.sign_client("me"), "me").unwrap(), "hello from nginx\n");
    let between = authority.intermediate("one between").sign_client("me too");
    assert_eq!(shown(&between, "me-too").unwrap(), "hello from nginx\n");
    https(&world, &[]).unwrap_err();
    await_event(&world, |event| event["extensions"]["reason"] == "client_certificate_missing");
    for (name, signed) in [
        ("stranger", Authority::new("a stranger").sign_client("me")),
        ("late", authority.sign_expired("me")),
        ("server", authority.sign("me")),
    ] {
        world.edge().namespace().write("events.jsonl", "");
        assert!(shown(&signed, name).is_err(), "{name}");
    }
}

#[test]
fn haproxy_takes_the_header_with_fields_about_tls() {
    let world = World::new();
    pki(&world);
    let haproxy = world.origin().haproxy_told();
    let told = app(haproxy.addr(), "flexible").line("proxy_protocol = \"v2\"");
    let _edge = world.edge().run(told.extension("proxy_tlvs", "[\"ssl\", \"authority\"]"));
    let page = https(&world, &[]).unwrap();
    assert!(page.starts_with(&format!("{CLIENT} ")), "{page}");
    assert!(page.contains(&format!("authority={HOST}")), "{page}");
}

#[test]
fn versions_older_than_the_least_are_refused_with_an_alert() {
    let world = World::new();
    pki(&world);
    let nginx = world.origin().nginx();
    let old = ["-cipher", "ALL:@SECLEVEL=0"];
    for (least, good, bad) in [
        ("1.2", &["-tls1_2", "-tls1_3"][..], &["-tls1", "-tls1_1"][..]),
        ("1.3", &["-tls1_3"], &["-tls1", "-tls1_1", "-tls1_2"]),
    ] {
        let edge = app(nginx.addr(), "flexible").extension("min_tls_version", &format!("\"{least}\""));
        let _edge = world.edge().run(edge);
        let ask = |version: &str| {
            world.client().s_client(at(EDGE, 443), &[&["-servername", HOST, version], &old[..]].concat())
        };
        for version in good {
            let said = ask(version);
            assert!(said.contains("hello from nginx"), "{least} {version}: {said}");
        }
        for version in bad {
            let said = ask(version);
            assert!(said.contains("alert protocol version"), "{least} {version}: {said}");
        }
    }
    await_event(&world, |event| event["extensions"]["reason"] == "client_handshake_nothing_in_common");
}

/// A socket that keeps what is read from it.
struct Recorded {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Recorded {
    fn new(socket: TcpStream) -> Self {
        Self { socket, read: Vec::new() }
    }

    /// Records of the length that a `KeyUpdate` has (RFC 8446, section 4.6.3: five bytes) with its type and its tag.
    /// Nothing else that is sent here has it.
    fn key_updates(&self) -> usize {
        let (mut rest, mut found) = (&self.read[..], 0);
        while let [0x14..=0x17, 3, _, high, low, behind @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            found += usize::from(length == 5 + 1 + 16);
            rest = behind.get(length..).unwrap_or_default();
        }
        found
    }
}

impl Read for Recorded {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(room)?;
        self.read.extend(&room[..read]);
        Ok(read)
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[test]
fn a_peer_that_wants_new_keys_gets_them_and_the_data_goes_on() {
    let world = World::new();
    let authority = pki(&world);
    let (listener, origin) = world.origin().listen();
    let _edge = world.edge().run(app(origin, "strict").extension("origin_ca", &format!("\"{ROOT}\"")));
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_provider(provider(Peer::Origin)).with_protocol_versions(&[&TLS13]);
    let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), HOST.try_into().unwrap()).unwrap();
    let mut client = StreamOwned::new(session, Recorded::new(world.client().connect(at(EDGE, 443)).unwrap()));

    let own = authority.sign(HOST);
    let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider(Peer::Client)).with_protocol_versions(&[&TLS13]);
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let session = ServerConnection::new(Arc::new(config)).unwrap();
    // The edge dials once the client has shaken hands.
    client.write_all(b"the first bytes").unwrap();
    let mut origin = StreamOwned::new(session, Recorded::new(listener.accept().unwrap().0));
    let mut first = [0; 15];
    origin.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"the first bytes");

    // More than one record, each way.
    let page = vec![b'x'; 20_000];
    for round in 1..=3 {
        client.conn.refresh_traffic_keys().unwrap();
        client.write_all(&page).unwrap();
        let mut arrived = vec![0; page.len()];
        origin.read_exact(&mut arrived).unwrap();
        assert!(arrived == page, "round {round}, from the client");
        origin.conn.refresh_traffic_keys().unwrap();
        origin.write_all(&page).unwrap();
        client.read_exact(&mut arrived).unwrap();
        assert!(arrived == page, "round {round}, from the origin");
        // What the edge says with the next bytes, it has said now.
        client.write_all(b"?").unwrap();
        origin.read_exact(&mut [0]).unwrap();
        assert_eq!((client.sock.key_updates(), origin.sock.key_updates()), (round, round));
    }
}

#[test]
fn openssl_sees_its_key_update_answered() {
    let world = World::new();
    pki(&world);
    let echo = world.origin().echo();
    let edge = world.edge().run(app(echo.addr(), "flexible"));
    // A command is one only where it is read alone: not with the line before it, nor with the one behind.
    let script = "sleep 3; echo K; sleep 3; echo after; sleep 2";
    let said = world.client().s_client_after(script, edge.at(443), &["-servername", HOST, "-tls1_3", "-msg"]);
    assert!(said.lines().any(|line| line == "after"), "{said}");
    let updates = |direction: &str| {
        said.lines().filter(|line| line.starts_with(direction) && line.ends_with("KeyUpdate")).count()
    };
    assert_eq!((updates(">>>"), updates("<<<")), (1, 1), "{said}");
}
