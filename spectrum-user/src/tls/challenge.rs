//! TLS-ALPN-01 (RFC 8737): whoever asks whether a hostname is ours gets a certificate that says so, and nothing else.
//!
//! Deliberately not here: which challenges are open, and what is in their certificates (`acme`).

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    server::ClientHello,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use super::{Peer, provider};

/// The protocol by which a directory asks for a challenge's certificate (RFC 8737, section 6.2).
pub const ALPN: &[u8] = b"acme-tls/1";

/// Who knows of the challenges that are open.
pub trait Challenged: fmt::Debug + Send + Sync + 'static {
    /// What is shown to who asks for this name.
    fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>>;
}

/// Whether it wants a challenge's certificate: its list has this protocol and no other (RFC 8737, section 3).
pub(super) fn is_asked(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|protocols| protocols.eq([ALPN]))
}

/// A handshake that comes to nothing but this certificate. None: the cryptography has no such versions.
pub(super) fn config(certificate: Arc<CertifiedKey>) -> Option<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(provider(Peer::Client));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).ok()?.with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nobody goes on with it.
    config.send_tls13_tickets = 0;
    Some(Arc::new(config))
}
