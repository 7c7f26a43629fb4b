//! What is known of a handshake: for the event log, and for origins that want to know of their client.

use rustls::{ClientConnection, HandshakeKind, ServerConnection, pki_types::CertificateDer};

use super::{Fault, certificates::fingerprint, words};

/// Of the client.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    /// The product's word (`ClientTlsStatus`).
    pub status: &'static str,
    /// The name that it asked for, in lower case.
    pub server_name: Option<String>,
    pub version: &'static str,
    pub cipher: &'static str,
    pub openssl_cipher: &'static str,
    /// It went on with an earlier session.
    pub resumed: bool,
    /// Who it says it is, which an authority vouches for.
    pub identity: Option<Identity>,
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub common_name: Option<String>,
    pub subject: String,
    /// SHA-256 of the certificate, in hex digits.
    pub fingerprint: String,
}

/// Of the origin.
#[derive(Clone, Debug)]
pub struct OriginHandshake {
    /// The product's word (`OriginTlsStatus`).
    pub status: &'static str,
    pub version: &'static str,
    pub cipher: &'static str,
    /// SHA-256 of its certificate, in hex digits.
    pub fingerprint: String,
    pub resumed: bool,
    /// What verification would have said, where nobody asks it.
    pub fault: Option<Fault>,
}

impl Default for ClientHandshake {
    fn default() -> Self {
        Self {
            status: "UNKNOWN",
            server_name: None,
            version: "unknown",
            cipher: "UNK",
            openssl_cipher: "UNK",
            resumed: false,
            identity: None,
        }
    }
}

impl Default for OriginHandshake {
    fn default() -> Self {
        Self {
            status: "UNKNOWN",
            version: "unknown",
            cipher: "UNK",
            fingerprint: String::new(),
            resumed: false,
            fault: None,
        }
    }
}

impl ClientHandshake {
    pub fn learn(&mut self, session: &ServerConnection) {
        self.status = "OK";
        self.version = session.protocol_version().map_or("unknown", words::version);
        if let Some(suite) = session.negotiated_cipher_suite() {
            self.cipher = words::cipher(suite.suite());
            self.openssl_cipher = words::openssl_cipher(suite.suite());
        }
        self.resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        self.identity = session.peer_certificates().and_then(<[_]>::first).and_then(Identity::of);
    }
}

#[cfg(feature = "legacy-tls")]
impl ClientHandshake {
    /// The same of a session of OpenSSL, whose words are the product's.
    pub fn learn_legacy(&mut self, session: &super::legacy::Session) {
        self.status = "OK";
        self.version = session.version();
        self.cipher = session.cipher().unwrap_or("UNK");
        self.openssl_cipher = self.cipher;
    }
}

impl OriginHandshake {
    pub fn learn(&mut self, session: &ClientConnection) {
        self.status = "OK";
        self.version = session.protocol_version().map_or("unknown", words::version);
        self.cipher = session.negotiated_cipher_suite().map_or("UNK", |suite| words::cipher(suite.suite()));
        self.resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        self.fingerprint =
            session.peer_certificates().and_then(<[_]>::first).map(|leaf| fingerprint(leaf)).unwrap_or_default();
    }
}

impl Identity {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (common_name, subject) = words::subject(certificate)?;
        Some(Self { common_name, subject, fingerprint: fingerprint(certificate) })
    }
}
