//! The handshake with an origin.

use std::{io, time::Duration};

use rustls::{ClientConnection, pki_types::CertificateDer};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::wire::{TooLong, Wire};
use crate::{
    model::Verify,
    tls::{Fault, Origin, OriginHandshake},
};

/// What an origin may send before the handshake is over: rustls takes chains of up to 64 KiB.
const MOST: usize = 128 << 10;

/// Why there was no handshake with an origin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginTlsError {
    #[error("{0}")]
    Certificate(Fault),
    #[error("no handshake with the origin within {0:?}")]
    Late(Duration),
    #[error("what TLS to the origin needs cannot be read")]
    Configuration,
    #[error("the origin's handshake failed: {0}")]
    Failed(rustls::Error),
    #[error("the origin's handshake has more than {MOST} bytes")]
    TooLong,
    #[error("the origin's side broke in the handshake")]
    Broken(#[source] io::Error),
}

impl OriginTlsError {
    /// The product's status code: failed handshakes are 521 and 522 for applications over TCP.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Late(_) => 522,
            Self::Configuration => 540,
            Self::Certificate(_) | Self::Failed(_) | Self::TooLong | Self::Broken(_) => 521,
        }
    }

    /// The product's word (`OriginTlsStatus`).
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Configuration => "INVALID_CONFIG",
            _ => "HANDSHAKE_FAILED",
        }
    }

    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Certificate(fault) => fault.as_str(),
            Self::Late(_) => "origin_handshake_timeout",
            Self::Configuration => "origin_tls_not_configured",
            Self::Failed(rustls::Error::InvalidMessage(_)) => "origin_speaks_no_tls",
            Self::Failed(rustls::Error::AlertReceived(_)) => "origin_refused_handshake",
            Self::Failed(_) | Self::TooLong | Self::Broken(_) => "origin_handshake_failed",
        }
    }
}

impl From<io::Error> for OriginTlsError {
    fn from(error: io::Error) -> Self {
        let Some(inner) = error.get_ref() else { return Self::Broken(error) };
        if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            return Fault::of(error).map_or_else(|| Self::Failed(error.clone()), Self::Certificate);
        }
        if inner.is::<TooLong>() { Self::TooLong } else { Self::Broken(error) }
    }
}

/// Shakes hands within `patience`.
pub(crate) async fn offer(
    origin: &Origin,
    stream: &TcpStream,
    patience: Duration,
    facts: &mut OriginHandshake,
) -> Result<ClientConnection, OriginTlsError> {
    let (config, name) = origin.connect().ok_or(OriginTlsError::Configuration)?;
    let deadline = Instant::now() + patience;
    let shaking = TlsConnector::from(config).connect(name, Wire::new(stream, MOST));
    let shaken = timeout_at(deadline, shaking).await.map_err(|_| OriginTlsError::Late(patience))??;
    let (_, session) = shaken.into_inner();
    facts.learn(&session);
    let chain: &[CertificateDer<'_>] = session.peer_certificates().unwrap_or_default();
    let asked = session.handshake_kind() != Some(rustls::HandshakeKind::Resumed);
    match origin.verify() {
        Verify::Chain if asked => {}
        // A session goes on, and the certificate behind it may have ended meanwhile.
        Verify::Chain => origin.judge(chain).map_or(Ok(()), |fault| Err(OriginTlsError::Certificate(fault)))?,
        Verify::DangerousSkip => facts.fault = origin.judge(chain),
    }
    Ok(session)
}
