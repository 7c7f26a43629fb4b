//! Clients that only OpenSSL can serve, with OpenSSL's own client; and those that must not get it.

use openssl::{
    pkey::PKey,
    rsa::Rsa,
    ssl::{HandshakeError, ShutdownResult, SslConnector, SslMethod, SslStream, SslVersion},
};

use super::*;
use crate::model::MinTlsVersion;

const CBC: &str = "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256";

fn old(app: &mut Application) {
    app.tls.mode = TlsMode::Flexible;
    app.tls.min_version = MinTlsVersion::Tls11;
}

fn shake<S: Read + Write>(
    pki: &Pki,
    stream: S,
    version: SslVersion,
    suites: &str,
    name: &str,
) -> Result<SslStream<S>, HandshakeError<S>> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_security_level(0);
    builder.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    builder.set_cipher_list(&format!("{suites}:@SECLEVEL=0")).unwrap();
    builder.set_ca_file(pki.directory.path().join("ca.crt")).unwrap();
    builder.build().connect(name, stream)
}

fn connect_old(pki: &Pki, edge: &Edge, version: SslVersion, suites: &str) -> SslStream<TcpStream> {
    shake(pki, edge.connect(), version, suites, HOST).unwrap()
}

fn answer(client: &mut SslStream<impl Read + Write>, what: &[u8]) -> Vec<u8> {
    client.write_all(what).unwrap();
    let mut answer = vec![0; what.len()];
    client.read_exact(&mut answer).unwrap();
    answer
}

fn refused<S: std::fmt::Debug>(shaken: Result<SslStream<S>, HandshakeError<S>>) -> String {
    format!("{:?}", shaken.unwrap_err())
}

/// An edge with a certificate of each key type that old clients know.
fn with_both(pki: &Pki, origin: SocketAddr) -> Edge {
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap().private_key_to_pem_pkcs8().unwrap();
    let rsa = KeyPair::from_pem(&String::from_utf8(rsa).unwrap()).unwrap();
    let directory = pki.directory.path().join("both");
    fs::create_dir_all(&directory).unwrap();
    for (kind, key) in [("rsa", rsa), ("ecdsa", KeyPair::generate().unwrap())] {
        let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().signed_by(&key, &pki.issuer).unwrap();
        fs::write(directory.join(format!("{HOST}.{kind}.pem")), certificate.pem()).unwrap();
        fs::write(directory.join(format!("{HOST}.{kind}.key")), key.serialize_pem()).unwrap();
    }
    let (_, certificates) = Store::open(vec![Source::from(directory)], SystemTime::now());
    let shared = Shared { certificates: Live::new(certificates), ..Shared::default() };
    Edge::holding(&shared, Budget::divide(4096), origin, old)
}

#[test]
fn each_of_them_is_served_in_the_products_order() {
    let pki = Pki::new();
    let mut edge = with_both(&pki, echo());
    for (version, suites, protocol, cipher) in [
        (SslVersion::TLS1, "DEFAULT", "TLSv1", "ECDHE-RSA-AES128-SHA"),
        (SslVersion::TLS1_1, "DEFAULT", "TLSv1.1", "ECDHE-RSA-AES128-SHA"),
        (SslVersion::TLS1, "AES256-SHA:ECDHE-ECDSA-AES128-SHA", "TLSv1", "ECDHE-ECDSA-AES128-SHA"),
        (SslVersion::TLS1, "AES256-SHA:AES128-SHA", "TLSv1", "AES128-SHA"),
        (SslVersion::TLS1_2, "AES256-SHA:AES256-GCM-SHA384", "TLSv1.2", "AES256-GCM-SHA384"),
        (SslVersion::TLS1_2, "AES128-SHA:ECDHE-RSA-AES128-SHA256", "TLSv1.2", "ECDHE-RSA-AES128-SHA256"),
        (SslVersion::TLS1_2, CBC, "TLSv1.2", "ECDHE-ECDSA-AES128-SHA256"),
    ] {
        let mut client = connect_old(&pki, &edge, version, suites);
        assert_eq!(answer(&mut client, b"hello"), b"hello", "{suites}");
        let opened = edge.event();
        assert_eq!((&opened["ClientTlsProtocol"], &opened["ClientTlsCipher"]), (&protocol.into(), &cipher.into()));
        assert_eq!(
            (&opened["ClientTlsStatus"], &opened["ClientTlsClientHelloServerName"]),
            (&"OK".into(), &HOST.into())
        );
        assert_eq!(client.shutdown().unwrap(), ShutdownResult::Sent);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "the end is told in TLS");
        assert_eq!(told(&edge.event()), ("disconnect".into(), 200, "closed".into()));
    }
}

#[test]
fn who_can_do_better_does() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), old);
    let mut modern = connect(&edge, &Arc::new(pki.client()), HOST);
    assert_eq!(asks(&mut modern, b"hello"), b"hello");
    assert_eq!(edge.event()["ClientTlsProtocol"], "TLSv1.3");
    drop(modern);
    edge.event();
    // OpenSSL's side of the edge has no such suite: rustls serves it.
    let suites = "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256";
    let mut newer = connect_old(&pki, &edge, SslVersion::TLS1_2, suites);
    assert_eq!(answer(&mut newer, b"hello"), b"hello");
    assert_eq!(edge.event()["ClientTlsCipher"], "ECDHE-ECDSA-AES128-GCM-SHA256");
}

#[test]
fn without_the_key_they_are_refused() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), mode(TlsMode::Flexible));
    // rustls looks for signatures that a client can check before it minds the version, and old ones name none: the alert
    // is the one of the standards all the same.
    for (version, suites, alert) in [
        (SslVersion::TLS1, "DEFAULT", "alert protocol version"),
        (SslVersion::TLS1_1, "DEFAULT", "alert protocol version"),
        (SslVersion::TLS1_2, CBC, "alert handshake failure"),
    ] {
        let error = refused(shake(&pki, edge.connect(), version, suites, HOST));
        assert!(error.contains(alert), "{version:?}: {error}");
        let told = told(&edge.event());
        assert_eq!(told, ("tlsError".into(), 443, "client_handshake_nothing_in_common".into()), "{version:?}");
    }
}

#[test]
fn nothing_in_common_is_told_so() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), old);
    // There is no certificate of RSA.
    let error = refused(shake(&pki, edge.connect(), SslVersion::TLS1, "AES128-SHA", HOST));
    assert!(error.contains("handshake failure"), "{error}");
    assert_eq!(told(&edge.event()), ("tlsError".into(), 443, "client_handshake_nothing_in_common".into()));
}

#[test]
fn bulk_goes_both_ways_unharmed() {
    let pki = Pki::new();
    let edge = pki.edge(echo(), old);
    for version in [SslVersion::TLS1, SslVersion::TLS1_2] {
        let mut client = connect_old(&pki, &edge, version, CBC);
        let bytes: Vec<u8> = (0..4 << 20_u32).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for piece in bytes.chunks(300_000) {
            assert!(answer(&mut client, piece) == piece, "{version:?}");
        }
    }
}

#[test]
fn half_of_a_connection_may_end_before_the_other() {
    let pki = Pki::new();
    let (listener, origin) = listen();
    let edge = pki.edge(origin, old);
    let mut client = connect_old(&pki, &edge, SslVersion::TLS1_1, CBC);
    client.write_all(b"question").unwrap();
    client.shutdown().unwrap();
    let mut origin = patient(listener.accept().unwrap().0);
    let mut question = Vec::new();
    origin.read_to_end(&mut question).unwrap();
    assert_eq!(question, b"question");
    let long = vec![7; 1 << 20];
    let sent = long.clone();
    let sending = thread::spawn(move || origin.write_all(&sent).map(|()| drop(origin)));
    let mut read = Vec::new();
    client.read_to_end(&mut read).unwrap();
    assert!(read == long);
    sending.join().unwrap().unwrap();
}

#[test]
fn a_stream_that_is_cut_does_not_look_whole() {
    let pki = Pki::new();
    let (listener, origin) = listen();
    let edge = pki.edge(origin, old);
    let mut client = connect_old(&pki, &edge, SslVersion::TLS1, CBC);
    client.write_all(b"hello").unwrap();
    super::super::reset(patient(listener.accept().unwrap().0));
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn a_wrong_name_gets_the_alert_that_says_so() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), old);
    let error = refused(shake(&pki, edge.connect(), SslVersion::TLS1, CBC, "other.example.com"));
    assert!(error.contains("unrecognized name"), "{error}");
    let event = edge.event();
    assert_eq!(told(&event), ("tlsError".into(), 400, "client_asks_for_another_name".into()));
    assert_eq!(event["ClientTlsClientHelloServerName"], "other.example.com");
}

#[test]
fn what_is_no_tls_or_takes_too_long_is_told_so() {
    let pki = Pki::new();
    let mut edge = pki.edge(echo(), |app| {
        old(app);
        app.timeouts.handshake = Duration::from_millis(300);
    });
    let mut client = edge.connect();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!((answer.first(), answer.len()), (Some(&0x15), 7), "an alert: {answer:02x?}");
    assert_eq!(told(&edge.event()), ("tlsError".into(), 443, "client_speaks_no_tls".into()));
    let mut slow = edge.connect();
    slow.write_all(&[0x16, 3, 1]).unwrap();
    assert!(slow.read(&mut [0; 8]).is_err(), "a reset");
    assert_eq!(told(&edge.event()), ("tlsError".into(), 443, "client_handshake_timeout".into()));
    let gone = edge.connect();
    gone.shutdown(Shutdown::Write).unwrap();
    assert_eq!(told(&edge.event()).0, "tlsError");
}

#[test]
fn a_broken_record_on_an_open_connection_is_told_and_answered() {
    let pki = Pki::new();
    let (listener, origin) = listen();
    let mut edge = pki.edge(origin, old);
    let mut client = connect_old(&pki, &edge, SslVersion::TLS1_1, CBC);
    client.write_all(b"hello").unwrap();
    let _origin = listener.accept().unwrap();
    assert_eq!(edge.event()["Event"], "connect");
    client.get_mut().write_all(&[0x17, 3, 2, 0, 64]).and_then(|()| client.get_mut().write_all(&[7; 64])).unwrap();
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert!(error.to_string().contains("bad record mac"), "{error}");
    assert_eq!(told(&edge.event()), ("tlsError".into(), 490, "client_tls_error".into()));
}

/// Sends one byte at a time.
#[derive(Debug)]
struct Dribble(TcpStream);

impl Read for Dribble {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }
}

impl Write for Dribble {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..1])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_hello_may_come_byte_by_byte() {
    let pki = Pki::new();
    let edge = pki.edge(echo(), old);
    for (version, suites) in [(SslVersion::TLS1, CBC), (SslVersion::TLS1_3, "DEFAULT")] {
        let stream = edge.connect();
        stream.set_nodelay(true).unwrap();
        let mut client = shake(&pki, Dribble(stream), version, suites, HOST).unwrap();
        assert_eq!(answer(&mut client, b"hello"), b"hello");
    }
}
