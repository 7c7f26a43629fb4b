//! Handshakes of rustls, in memory.

use std::io;

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::{
    model::ServerNames,
    tls::{
        Peer,
        certificates::{Certificates, Live, Resolver},
        names::AppNames,
        provider,
    },
};

/// The certificate that a client which trusts `made` sees, or why there is none.
fn handshake(live: &Live, hostname: &str, name: &'static str, made: &Made) -> Result<String, rustls::Error> {
    let resolver =
        Arc::new(Resolver::new(live.clone(), Arc::new(AppNames::new(hostname.to_owned(), ServerNames::default()))));
    let server = ServerConfig::builder_with_provider(provider(Peer::Client));
    let server = server.with_safe_default_protocol_versions()?.with_no_client_auth().with_cert_resolver(resolver);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.chain.as_bytes()).unwrap())?;
    let client = ClientConfig::builder_with_provider(provider(Peer::Origin));
    let client = client.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    let mut server = ServerConnection::new(Arc::new(server))?;
    let mut client = ClientConnection::new(Arc::new(client), name.try_into().unwrap())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        read(&bytes, |bytes| server.read_tls(bytes));
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        read(&bytes, |bytes| client.read_tls(bytes));
        client.process_new_packets()?;
    }
    Ok(fingerprint(&client.peer_certificates().unwrap()[0]))
}

fn read(mut bytes: &[u8], mut by: impl FnMut(&mut dyn io::Read) -> io::Result<usize>) {
    while !bytes.is_empty() {
        by(&mut bytes).unwrap();
    }
}

#[test]
fn clients_get_the_newest_certificate() {
    let place = Place::new();
    let mut store = place.store();
    let live = Live::new(Arc::new(Certificates::default()));
    let (old, new) = (made(&["example.com"], 10), made(&["example.com"], 60));
    assert!(handshake(&live, "example.com", "example.com", &old).is_err(), "there is none");
    for made in [old, new] {
        place.pair("example.com", &made);
        live.replace(store.refresh(SystemTime::now()).unwrap().certificates);
        assert_eq!(handshake(&live, "example.com", "example.com", &made), Ok(made.fingerprint()));
    }
    assert_eq!(live.newest().report(SystemTime::now()).len(), 1);
}

#[test]
fn nothing_shows_a_key() {
    let place = Place::new();
    let made = made(&["example.com"], 60);
    place.pair("example.com", &made);
    let store = place.store();
    let shown = format!("{store:?} {:?}", Live::new(Arc::clone(store.newest())));
    let key = KeyPair::from_pem(&made.key).unwrap();
    // Debug writes bytes as numbers; the private scalar of P-256 begins behind 36 bytes of PKCS#8.
    let scalar = format!("{:?}", &key.serialized_der()[36..44]);
    assert!(!shown.contains(scalar.trim_matches(['[', ']'])));
    assert!(!shown.contains(&made.key.lines().nth(1).unwrap()[..16]));
}
