//! TLS-ALPN-01 (RFC 8737): whoever asks whether a hostname is ours gets a certificate that says so, and nothing else. And what
//! whoever serves the ports asks of challenges, HTTP-01 as well.
//!
//! Deliberately not here: which challenges are open, what is in their certificates, and what HTTP is (`acme`).

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    server::ClientHello,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use super::{Peer, Refused, provider};

/// The protocol by which a directory asks for a challenge's certificate (RFC 8737, section 6.2).
pub const ALPN: &[u8] = b"acme-tls/1";

/// Who knows of the challenges that are open.
pub trait Challenged: fmt::Debug + Send + Sync + 'static {
    /// What is shown to who asks for this name.
    fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>>;

    /// Whether a file is to be shown for a hostname of these.
    fn has_file(&self, is_asked: &dyn Fn(&str) -> bool) -> bool;

    /// What is said to a client of HTTP, of whom these are all bytes so far.
    fn http01(&self, read: &[u8]) -> Http01;

    /// Whether more bytes can make a directory's request of these: nobody waits for them otherwise.
    fn may_begin_http01(&self, read: &[u8]) -> bool;
}

/// What a client's first bytes come to, where files of challenges are shown (RFC 8555, section 8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Http01 {
    /// The head is not whole: ask again, with all of what was read.
    More,
    /// The file of an open challenge: to be sent as it is, and then the connection is over.
    Shown(Vec<u8>),
    /// The same to who asks for anything else.
    Refused(Vec<u8>),
}

/// What the handshake of who must want a challenge's certificate is done with.
pub fn answer_challenge(challenged: &dyn Challenged, hello: &ClientHello<'_>) -> Result<Arc<ServerConfig>, Refused> {
    if !is_asked(hello) {
        return Err(Refused::NoChallenge);
    }
    let certificate = hello.server_name().and_then(|name| challenged.certificate(name));
    certificate.and_then(config).ok_or(Refused::WrongName)
}

/// Whether it wants a challenge's certificate: its list has this protocol and no other (RFC 8737, section 3).
pub(super) fn is_asked(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|protocols| protocols.eq([ALPN]))
}

/// A handshake that comes to nothing but this certificate. None: the cryptography has no such versions.
fn config(certificate: Arc<CertifiedKey>) -> Option<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(provider(Peer::Client));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).ok()?.with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nobody goes on with it.
    config.send_tls13_tickets = 0;
    Some(Arc::new(config))
}
