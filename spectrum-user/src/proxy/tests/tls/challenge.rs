//! A directory that looks at the answer to its challenge, and who only looks like one.

use rustls::sign::CertifiedKey;

use super::*;
use crate::tls::{ALPN, Challenged, Http01};

/// Of another hostname than the application's: its own applications may be on other ports.
const OTHER: &str = "other.example.com";

/// An open challenge for [`OTHER`].
#[derive(Debug)]
struct Open(Arc<CertifiedKey>);

impl Challenged for Open {
    fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        (host == OTHER).then(|| Arc::clone(&self.0))
    }

    fn has_file(&self, _: &dyn Fn(&str) -> bool) -> bool {
        false
    }

    fn http01(&self, _: &[u8]) -> Http01 {
        Http01::Refused(Vec::new())
    }

    fn may_begin_http01(&self, _: &[u8]) -> bool {
        false
    }
}

/// An edge without any certificate but the answer, in front of an origin that nobody should dial.
fn edge(pki: &Pki, certificates: Shared) -> (Edge, TcpListener) {
    let Signed { chain, key, .. } = pki.sign(OTHER, |_| ());
    let key = provider(Peer::Client).key_provider.load_private_key(key).unwrap();
    let open = Open(Arc::new(CertifiedKey::new(chain, key)));
    let shared = Shared { challenges: Some(Arc::new(open)), ..certificates };
    let (origin, address) = listen();
    origin.set_nonblocking(true).unwrap();
    (Edge::holding(&shared, Budget::divide(4096), address, mode(TlsMode::Flexible)), origin)
}

fn offering(pki: &Pki, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = pki.client();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

#[test]
fn a_directory_is_shown_the_answer_and_nothing_else() {
    let pki = Pki::new();
    let (mut edge, origin) = edge(&pki, Shared::default());
    let mut directory = connect(&edge, &offering(&pki, &[ALPN]), OTHER);
    assert_eq!(directory.read(&mut [0; 8]).unwrap(), 0, "an end in good order");
    assert_eq!(directory.conn.alpn_protocol(), Some(ALPN));
    drop(directory);
    let event = edge.event();
    assert_eq!(told(&event), ("disconnect".into(), 200, "acme_challenge".into()));
    assert_eq!(event["ClientTlsClientHelloServerName"], OTHER);
    assert_eq!(origin.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody dials");
}

#[test]
fn a_challenge_that_is_not_open_is_another_name() {
    let pki = Pki::new();
    let (mut edge, _origin) = edge(&pki, pki.shared());
    let mut directory = connect(&edge, &offering(&pki, &[ALPN]), HOST);
    assert!(directory.read(&mut [0; 8]).unwrap_err().to_string().contains("UnrecognisedName"));
    assert_eq!(told(&edge.event()), ("tlsError".into(), 400, "client_asks_for_another_name".into()));
}

#[test]
fn who_offers_other_protocols_too_is_a_client() {
    let pki = Pki::new();
    let (mut edge, _origin) = edge(&pki, pki.shared());
    let mut client = connect(&edge, &offering(&pki, &[ALPN, b"h2"]), HOST);
    client.flush().unwrap();
    assert_eq!(told(&edge.event()), ("connect".into(), 0, "connected".into()));
    assert_eq!(client.conn.alpn_protocol(), None);
}
