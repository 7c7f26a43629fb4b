//! The cryptography: suites in the product's order, and the key exchange that quantum computers do not break first.

use std::sync::{Arc, LazyLock};

#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as backend;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as backend;
use rustls::{
    SupportedCipherSuite,
    crypto::{CryptoProvider, SupportedKxGroup},
};

use self::backend::{
    cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    },
    kx_group,
};

/// Who is spoken to, and so which suite comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client that has no fast AES, or does not say: the product's order at the edge (its documentation,
    /// "Configuration options").
    Client,
    /// One that has: it names AES before ChaCha20. For it the two change places, as they do for the product, whose
    /// library holds them for equal (BoringSSL's `[A|B]`).
    ClientWithAes,
    /// The product's order in the ClientHello (the same, "Origin ciphers").
    Origin,
}

/// The cryptography for this peer.
pub fn provider(peer: Peer) -> Arc<CryptoProvider> {
    static CLIENT: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| with(CHACHA_FIRST));
    static CLIENT_WITH_AES: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| with(AES_FIRST));
    static ORIGIN: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| with(TO_ORIGINS));
    Arc::clone(match peer {
        Peer::Client => &CLIENT,
        Peer::ClientWithAes => &CLIENT_WITH_AES,
        Peer::Origin => &ORIGIN,
    })
}

fn with(suites: &[SupportedCipherSuite]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites.to_vec(),
        kx_groups: KEY_EXCHANGES.to_vec(),
        ..backend::default_provider()
    })
}

const CHACHA_FIRST: &[SupportedCipherSuite] = &[
    TLS13_CHACHA20_POLY1305_SHA256,
    TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
];

const AES_FIRST: &[SupportedCipherSuite] = &[
    TLS13_AES_128_GCM_SHA256,
    TLS13_CHACHA20_POLY1305_SHA256,
    TLS13_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
];

/// Rows 1 to 5 of the product's table, and behind them what rustls has besides. It has none of rows 6 to 9.
const TO_ORIGINS: &[SupportedCipherSuite] = &[
    TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384,
    TLS13_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

const KEY_EXCHANGES: &[&dyn SupportedKxGroup] = &[
    #[cfg(feature = "aws-lc-rs")]
    kx_group::X25519MLKEM768,
    kx_group::X25519,
    kx_group::SECP256R1,
    kx_group::SECP384R1,
];
