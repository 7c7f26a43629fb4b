//! TLS 1.0 and 1.1, and the suites of CBC and of RSA key exchange in TLS 1.2: what rustls has none of, for good reasons
//! (RFC 8996). OpenSSL speaks it, for applications that ask for it and for clients that can nothing better.
//!
//! Deliberately not here: sessions that go on (each of these clients shakes hands in full), certificates of clients (the
//! configuration refuses both together), 3DES (Debian builds OpenSSL without it), and sockets (`proxy`).

mod context;
mod pair;
mod session;

pub use self::session::{Session, Taken};
pub(super) use self::{context::ssl, pair::Pair};
use super::{
    certificates::{HostCertificates, KeyType},
    hello::{ClientHello, Version},
};

/// Whether rustls cannot serve this client with these certificates, though OpenSSL may.
pub(super) fn needs(hello: &ClientHello, own: &HostCertificates) -> bool {
    match hello.highest_version {
        older if older < Version::TLS1_2 => true,
        Version::TLS1_2 => !hello.cipher_suites.iter().any(|suite| is_served(*suite, own)),
        _ => false,
    }
}

/// Whether a suite of TLS 1.2 is one of rustls that a certificate is there for: ECDHE with AES-GCM (RFC 5289) or ChaCha20
/// (RFC 7905).
fn is_served(suite: u16, own: &HostCertificates) -> bool {
    match suite {
        0xc02b | 0xc02c | 0xcca9 => own.has(KeyType::Ecdsa) || own.has(KeyType::Ed25519),
        0xc02f | 0xc030 | 0xcca8 => own.has(KeyType::Rsa),
        _ => false,
    }
}
