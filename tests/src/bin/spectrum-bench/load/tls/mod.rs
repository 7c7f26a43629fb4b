//! The client's side of TLS: rustls, offering what every contestant has, and nothing else, so that all do the same work.
//!
//! Certificates are not verified: what a client spends on that is no contestant's.

pub(crate) mod exchange;
pub(crate) mod records;

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error, NamedGroup, ProtocolVersion,
    SignatureScheme, StreamOwned, version,
};

use super::connect;
use crate::origin::BULK;

/// Of which kind a contestant's certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// P-256.
    Ecdsa,
    /// 2,048 bits.
    Rsa,
}

impl Key {
    /// Whom the certificate is for.
    pub(crate) const fn hostname(self) -> &'static str {
        match self {
            Self::Ecdsa => "bench.example.com",
            Self::Rsa => "rsa.example.com",
        }
    }

    fn server_name(self) -> Result<ServerName<'static>> {
        Ok(ServerName::try_from(self.hostname())?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// A client of this version alone that goes on with sessions, or never does.
pub(crate) fn config(version: Version, resumes: bool) -> Result<ClientConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        kx_groups: match version {
            // Debian's OpenSSL has no X25519MLKEM768.
            Version::Tls13 => vec![kx_group::X25519],
            // Here the curve of a certificate's key must be among them, too (RFC 8422, 5.1).
            Version::Tls12 => vec![kx_group::X25519, kx_group::SECP256R1],
        },
        ..default_provider()
    };
    let algorithms = provider.signature_verification_algorithms;
    let versions = match version {
        Version::Tls12 => [&version::TLS12],
        Version::Tls13 => [&version::TLS13],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(algorithms)))
        .with_no_client_auth();
    config.resumption = if resumes { Resumption::in_memory_sessions(4) } else { Resumption::disabled() };
    Ok(config)
}

/// A connection in TLS 1.3 that waits, with deadlines.
pub(crate) type Stream = StreamOwned<ClientConnection, Socket>;

/// Opens one, and sees to it that what was agreed upon is what everybody is measured with.
pub(crate) fn blocking(to: SocketAddr, key: Key) -> Result<Stream> {
    let mut session = ClientConnection::new(Arc::new(config(Version::Tls13, false)?), key.server_name()?)?;
    let mut socket = Socket(BufReader::with_capacity(BULK, connect::blocking(to)?));
    while session.is_handshaking() {
        session.complete_io(&mut socket).context("shake hands")?;
    }
    let agreed = (
        session.protocol_version(),
        session.negotiated_cipher_suite().map(|suite| suite.suite()),
        session.negotiated_key_exchange_group().map(SupportedKxGroup::name),
    );
    let wanted =
        (Some(ProtocolVersion::TLSv1_3), Some(CipherSuite::TLS13_AES_128_GCM_SHA256), Some(NamedGroup::X25519));
    ensure!(agreed == wanted, "{agreed:?} was agreed upon, where {wanted:?} should have been");
    Ok(StreamOwned::new(session, socket))
}

/// rustls reads 4 KiB at a time: fewer system calls for it.
pub(crate) struct Socket(BufReader<TcpStream>);

impl Read for Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes whoever answers.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
