//! TLS that ends here: every mode, with rustls on both sides, and what is neither.

mod challenge;
#[cfg(feature = "legacy-tls")]
mod legacy;

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tempfile::TempDir;

use super::{Edge, Event, listen, patient};
use crate::{
    listen::Budget,
    model::{Application, ProxyProtocol, TlsMode, Tlvs},
    tls::{
        Peer, Shared,
        certificates::{Live, Source, Store},
        provider,
    },
};

const HOST: &str = "app.example.com";

/// An authority, and the files of an edge.
struct Pki {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

struct Signed {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pem: String,
    key_pem: String,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed {
            chain: vec![certificate.der().clone()],
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    /// What an edge has with a certificate for [`HOST`].
    fn shared(&self) -> Shared {
        let signed = self.sign(HOST, |_| ());
        let certificates = self.directory.path().join("certificates");
        fs::create_dir_all(&certificates).unwrap();
        fs::write(certificates.join(format!("{HOST}.pem")), &signed.pem).unwrap();
        fs::write(certificates.join(format!("{HOST}.key")), &signed.key_pem).unwrap();
        let source = Source::from(certificates);
        let (_, certificates) = Store::open(vec![source], SystemTime::now());
        Shared { certificates: Live::new(certificates), ..Shared::default() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    fn client(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(provider(Peer::Origin))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    fn edge(&self, origin: SocketAddr, change: impl FnOnce(&mut Application)) -> Edge {
        Edge::holding(&self.shared(), Budget::divide(4096), origin, change)
    }
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect(edge: &Edge, config: &Arc<ClientConfig>, name: &str) -> Client {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), edge.connect())
}

/// An origin that sends back what it gets, and ends where its peer does.
fn echo() -> SocketAddr {
    let (listener, address) = listen();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

/// The same in TLS.
fn tls_echo(signed: Signed) -> SocketAddr {
    let (listener, address) = listen();
    let config = ServerConfig::builder_with_provider(provider(Peer::Client))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(signed.chain, signed.key)
        .unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), patient(stream));
                let mut bytes = vec![0; 16 << 10];
                while let Ok(read @ 1..) = tls.read(&mut bytes) {
                    if tls.write_all(&bytes[..read]).is_err() {
                        return;
                    }
                }
                tls.conn.send_close_notify();
                let _ = tls.flush();
            });
        }
    });
    address
}

fn asks(client: &mut Client, what: &[u8]) -> Vec<u8> {
    client.write_all(what).unwrap();
    client.flush().unwrap();
    let mut answer = vec![0; what.len()];
    client.read_exact(&mut answer).unwrap();
    answer
}

fn mode(mode: TlsMode) -> impl FnOnce(&mut Application) {
    move |app| app.tls.mode = mode
}

fn told(event: &Event) -> (String, u64, String) {
    let text = |value: &Event| value.as_str().unwrap().to_owned();
    (text(&event["Event"]), event["Status"].as_u64().unwrap(), text(&event["extensions"]["reason"]))
}

#[test]
fn flexible_ends_tls_here_and_tells_of_it() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), mode(TlsMode::Flexible));
    let mut client = connect(&edge, &Arc::new(pki.client()), HOST);
    assert_eq!(asks(&mut client, b"hello"), b"hello");
    let opened = edge.event();
    assert_eq!(opened["ClientTlsProtocol"], "TLSv1.3");
    assert_eq!(opened["ClientTlsCipher"], "AEAD-AES128-GCM-SHA256");
    assert_eq!(opened["ClientTlsStatus"], "OK");
    assert_eq!(opened["ClientTlsClientHelloServerName"], HOST);
    assert_eq!((&opened["OriginTlsMode"], &opened["OriginTlsStatus"]), (&"flexible".into(), &"UNKNOWN".into()));
    client.conn.send_close_notify();
    client.flush().unwrap();
    // Half of it is closed; the other half is ended by the origin, in the words of TLS.
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    let closed = edge.event();
    assert_eq!(told(&closed), ("disconnect".into(), 200, "closed".into()));
    assert_eq!((&closed["ClientBytes"], &closed["OriginBytes"]), (&5.into(), &5.into()));
}

#[test]
fn bulk_goes_both_ways_unharmed_in_every_mode() {
    let pki = Pki::new();
    for tls_mode in [TlsMode::Flexible, TlsMode::Full] {
        let origin = if tls_mode == TlsMode::Full { tls_echo(pki.sign("anybody", |_| ())) } else { echo() };
        let edge = pki.edge(origin, mode(tls_mode));
        let mut client = connect(&edge, &Arc::new(pki.client()), HOST);
        let bytes: Vec<u8> = (0..8 << 20_u32).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for piece in bytes.chunks(300_000) {
            assert!(asks(&mut client, piece) == piece, "{tls_mode}");
        }
    }
}

/// Makes an origin's certificate.
type Make<'a> = Box<dyn Fn() -> Signed + 'a>;

#[test]
fn strict_refuses_each_bad_certificate_with_its_own_word_and_full_only_tells() {
    let pki = Pki::new();
    let long_ago = rcgen::date_time_ymd(2001, 1, 1);
    let other = Pki::new();
    let self_signed = || {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
        let (pem, key_pem) = (certificate.pem(), key.serialize_pem());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Signed { chain: vec![certificate.der().clone()], pem, key_pem, key }
    };
    let expired = |params: &mut CertificateParams| (params.not_before, params.not_after) = (long_ago, long_ago);
    let cases: [(Make<'_>, Option<&str>); 5] = [
        (Box::new(|| pki.sign(HOST, |_| ())), None),
        (Box::new(|| pki.sign(HOST, expired)), Some("origin_certificate_expired")),
        (Box::new(|| pki.sign("other.example.com", |_| ())), Some("origin_certificate_wrong_name")),
        (Box::new(|| other.sign(HOST, |_| ())), Some("origin_certificate_unknown_ca")),
        (Box::new(self_signed), Some("origin_certificate_self_signed")),
    ];
    let config = Arc::new(pki.client());
    let ca = pki.directory.path().join("ca.crt");
    for (make, fault) in cases {
        for tls_mode in [TlsMode::Strict, TlsMode::Full] {
            let mut edge = pki.edge(tls_echo(make()), |app| {
                app.tls.mode = tls_mode;
                app.tls.origin_ca = Some(ca.clone());
            });
            let mut client = connect(&edge, &config, HOST);
            if let (TlsMode::Strict, Some(fault)) = (tls_mode, fault) {
                client.write_all(b"?").unwrap();
                assert!(client.read(&mut [0; 8]).is_err());
                let event = edge.event();
                assert_eq!(told(&event), ("originError".into(), 521, fault.into()));
                assert_eq!(event["OriginTlsStatus"], "HANDSHAKE_FAILED");
                continue;
            }
            assert_eq!(asks(&mut client, b"hello"), b"hello", "{fault:?} {tls_mode}");
            let event = edge.event();
            assert_eq!((&event["OriginTlsStatus"], &event["OriginTlsMode"]), (&"OK".into(), &tls_mode.as_str().into()));
            assert_eq!(event["OriginTlsFingerprint"].as_str().unwrap().len(), 64);
            let said = event["extensions"]["origin_certificate_fault"].as_str();
            assert_eq!(said, fault, "full says what strict would");
        }
    }
}

#[test]
fn a_wrong_name_gets_the_alert_that_says_so() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), mode(TlsMode::Flexible));
    let mut client = connect(&edge, &Arc::new(pki.client()), "other.example.com");
    let error =
        client.write_all(b"?").and_then(|()| client.flush()).and_then(|()| client.read(&mut [0; 8])).unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    let event = edge.event();
    assert_eq!(told(&event), ("tlsError".into(), 400, "client_asks_for_another_name".into()));
    assert_eq!(
        (&event["ClientTlsStatus"], &event["ClientTlsClientHelloServerName"]),
        (&"INVALID_SNI".into(), &"other.example.com".into())
    );
}

#[test]
fn a_client_without_a_name_gets_the_certificate_of_whose_address_it_is() {
    let pki = Pki::new();
    let edge = pki.edge(echo(), mode(TlsMode::Flexible));
    let mut config = pki.client();
    config.enable_sni = false;
    assert_eq!(asks(&mut connect(&edge, &Arc::new(config), HOST), b"hello"), b"hello");
}

#[test]
fn without_a_certificate_it_is_the_edge_that_is_to_blame() {
    let pki = Pki::new();
    let mut edge = Edge::with(echo(), mode(TlsMode::Flexible));
    let mut client = connect(&edge, &Arc::new(pki.client()), HOST);
    assert!(client.write_all(b"?").and_then(|()| client.read(&mut [0; 8])).is_err());
    assert_eq!(told(&edge.event()), ("tlsError".into(), 540, "no_certificate".into()));
}

#[test]
fn what_is_no_tls_is_told_so() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), mode(TlsMode::Flexible));
    let mut client = edge.connect();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!((answer.first(), answer.len()), (Some(&0x15), 7), "an alert: {answer:02x?}");
    assert_eq!(told(&edge.event()), ("tlsError".into(), 443, "client_speaks_no_tls".into()));
}

#[test]
fn who_takes_too_long_or_sends_too_much_is_ended() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), |app| {
        app.tls.mode = TlsMode::Flexible;
        app.timeouts.handshake = Duration::from_millis(300);
    });
    let mut slow = edge.connect();
    slow.write_all(&[0x16]).unwrap();
    assert!(slow.read(&mut [0; 8]).is_err(), "a reset");
    assert_eq!(told(&edge.event()), ("tlsError".into(), 443, "client_handshake_timeout".into()));
    let mut loud = edge.connect();
    // A hello that says it has 65,000 bytes, in records of 16 KiB.
    let mut head = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xfd, 0xe8, 3, 3];
    head.resize(5 + (16 << 10), 0);
    for _ in 0..3 {
        let _ = loud.write_all(&head);
        head[5..16].fill(0);
    }
    let _ = loud.read(&mut [0; 8]);
    let event = edge.event();
    assert_eq!((&event["Event"], &event["Status"]), (&"tlsError".into(), &443.into()), "{event}");
}

#[test]
fn sessions_go_on_in_both_versions() {
    let pki = Pki::new();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut edge = pki.edge(echo(), mode(TlsMode::Flexible));
        let mut config = ClientConfig::builder_with_provider(provider(Peer::Origin))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(pki.roots())
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        for resumed in [false, true, true] {
            let mut client = connect(&edge, &config, HOST);
            assert_eq!(asks(&mut client, b"hello"), b"hello");
            assert_eq!(edge.event()["extensions"]["client_tls_resumed"], resumed, "{version:?}");
            drop(client);
            edge.event();
        }
    }
}

#[test]
fn sessions_with_origins_go_on_too() {
    let pki = Pki::new();
    let ca = pki.directory.path().join("ca.crt");
    let mut edge = pki.edge(tls_echo(pki.sign(HOST, |_| ())), |app| {
        app.tls.mode = TlsMode::Strict;
        app.tls.origin_ca = Some(ca);
    });
    let config = Arc::new(pki.client());
    for resumed in [false, true, true] {
        let mut client = connect(&edge, &config, HOST);
        assert_eq!(asks(&mut client, b"hello"), b"hello");
        assert_eq!(edge.event()["extensions"]["origin_tls_resumed"], resumed);
        drop(client);
        edge.event();
    }
}

#[test]
fn clients_show_who_they_are_and_origins_are_told() {
    let pki = Pki::new();
    let (listener, origin) = listen();
    let ca = pki.directory.path().join("ca.crt");
    let mut edge = pki.edge(origin, |app| {
        app.tls.mode = TlsMode::Flexible;
        app.tls.client_ca = Some(ca);
        app.proxy_protocol = ProxyProtocol::V2(Tlvs { ssl: true, authority: true, ..Tlvs::default() });
    });
    let mut nobody = connect(&edge, &Arc::new(pki.client()), HOST);
    assert!(nobody.write_all(b"?").and_then(|()| nobody.flush()).and_then(|()| nobody.read(&mut [0; 8])).is_err());
    assert_eq!(told(&edge.event()), ("tlsError".into(), 443, "client_certificate_missing".into()));

    let me = pki.sign("me.example.com", |_| ());
    let config = ClientConfig::builder_with_provider(provider(Peer::Origin))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(pki.roots())
        .with_client_auth_cert(me.chain, me.key)
        .unwrap();
    let mut client = connect(&edge, &Arc::new(config), HOST);
    client.write_all(b"hello").unwrap();
    client.flush().unwrap();
    let header = read_header(&listener);
    let text = String::from_utf8_lossy(&header);
    assert!(text.contains("me.example.com") && text.contains("TLSv1.3") && text.contains("TLS_AES_128_GCM_SHA256"));
    assert!(text.contains(HOST));
    let event = edge.event();
    assert!(event["extensions"]["client_certificate_subject"].as_str().unwrap().contains("me.example.com"), "{event}");
}

fn read_header(listener: &TcpListener) -> Vec<u8> {
    let mut stream = patient(listener.accept().unwrap().0);
    let mut head = [0; 16];
    stream.read_exact(&mut head).unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
    stream.read_exact(&mut rest).unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello", "the client's bytes come behind the header");
    rest
}

#[test]
fn a_stream_that_is_cut_does_not_look_whole() {
    let pki = Pki::new();
    let (listener, origin) = listen();
    let edge = pki.edge(origin, mode(TlsMode::Flexible));
    let mut client = connect(&edge, &Arc::new(pki.client()), HOST);
    client.write_all(b"hello").unwrap();
    client.flush().unwrap();
    let origin = patient(listener.accept().unwrap().0);
    super::reset(origin);
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn a_broken_record_on_an_open_connection_is_told_and_answered() {
    let pki = Pki::new();
    let (listener, origin) = listen();
    let mut edge = pki.edge(origin, mode(TlsMode::Flexible));
    let mut client = connect(&edge, &Arc::new(pki.client()), HOST);
    client.write_all(b"hello").unwrap();
    client.flush().unwrap();
    let mut origin = patient(listener.accept().unwrap().0);
    assert_eq!(edge.event()["Event"], "connect");
    client.sock.write_all(&[0x17, 3, 3, 0, 32]).and_then(|()| client.sock.write_all(&[7; 32])).unwrap();
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    assert_eq!(told(&edge.event()), ("tlsError".into(), 490, "client_tls_error".into()));
    let mut rest = Vec::new();
    assert!(origin.read_to_end(&mut rest).is_err(), "the origin's side is reset: {rest:?}");
}

#[test]
fn one_address_has_only_so_many_handshakes() {
    let pki = Pki::new();
    let mut shared = pki.shared();
    shared.handshakes.per_client = 2;
    let mut edge = Edge::holding(&shared, Budget::divide(4096), echo(), mode(TlsMode::Flexible));
    let slow: Vec<TcpStream> = (0..2).map(|_| edge.connect()).collect();
    let told_of = || {
        let mut third = edge.connect();
        third.read(&mut [0; 8]).is_err()
    };
    assert!(super::eventually(|| told_of().then_some(true)));
    let event = edge.event();
    assert_eq!(told(&event), ("tlsError".into(), 443, "max_handshakes_per_ip".into()));
    drop(slow);
}
