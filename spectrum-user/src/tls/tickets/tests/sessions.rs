use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use crate::tls::{AppTickets, Peer, SealKey, TicketKeys, provider};

#[test]
fn a_session_goes_on_after_a_restart() {
    for version in [&TLS12, &TLS13] {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(version);
        let now = SystemTime::now();
        let keys = opened(&dir, now);
        keys.rotate_if_due(now);
        assert_eq!(world.handshake(keys, "app"), HandshakeKind::Full);
        assert_eq!(world.handshake(opened(&dir, now), "app"), HandshakeKind::Resumed);
        // Also when the key is not the current one any more.
        let keys = opened(&dir, now);
        keys.rotate_if_due(now + Duration::from_hours(1));
        assert_eq!(world.handshake(opened(&dir, now), "app"), HandshakeKind::Resumed);
    }
}

#[test]
fn none_goes_on_elsewhere() {
    for version in [&TLS12, &TLS13] {
        let world = World::new(version);
        let keys = Arc::new(TicketKeys::in_memory(SystemTime::now()));
        assert_eq!(world.handshake(Arc::clone(&keys), "app, authorities A"), HandshakeKind::Full);
        assert_eq!(world.handshake(Arc::clone(&keys), "app, authorities B"), HandshakeKind::Full);
        assert_eq!(world.handshake(keys, "app, authorities B"), HandshakeKind::Resumed);
        let others = Arc::new(TicketKeys::in_memory(SystemTime::now()));
        assert_eq!(world.handshake(others, "app, authorities B"), HandshakeKind::Full);
    }
}

fn opened(dir: &tempfile::TempDir, now: SystemTime) -> Arc<TicketKeys> {
    let (keys, note) = TicketKeys::open(dir.path(), SealKey::Own, now);
    assert_eq!(note, None);
    Arc::new(keys)
}

/// A client that remembers its sessions, and a certificate that it trusts.
struct World {
    client: Arc<ClientConfig>,
    version: &'static SupportedProtocolVersion,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl World {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["app.example".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider(Peer::Origin))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        Self { client: Arc::new(client), version, certificate, key }
    }

    /// With a server that has nothing but the keys.
    fn handshake(&self, keys: Arc<TicketKeys>, context: &str) -> HandshakeKind {
        let mut server = ServerConfig::builder_with_provider(provider(Peer::Client))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = Arc::new(AppTickets::new(keys, context));
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let name = ServerName::try_from("app.example").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            give(&bytes, |rest| server.read_tls(rest));
            server.process_new_packets().unwrap();
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            give(&bytes, |rest| client.read_tls(rest));
            client.process_new_packets().unwrap();
        }
        assert_eq!(client.handshake_kind(), server.handshake_kind());
        server.handshake_kind().unwrap()
    }
}

fn give(mut bytes: &[u8], mut read: impl FnMut(&mut dyn std::io::Read) -> std::io::Result<usize>) {
    while !bytes.is_empty() {
        read(&mut bytes).unwrap();
    }
}
