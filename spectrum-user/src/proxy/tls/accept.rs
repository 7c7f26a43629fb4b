//! The handshake with a client: bounded in time and bytes, and refused in the words of TLS.

use std::{io, sync::Arc, time::Duration};

use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

#[cfg(feature = "legacy-tls")]
use super::older;
use super::{
    farewell::{
        self, ACCESS_DENIED, DECODE_ERROR, HANDSHAKE_FAILURE, INTERNAL_ERROR, UNEXPECTED_MESSAGE, UNRECOGNIZED_NAME,
        alert,
    },
    first,
    session::Session,
    wire::{TooLong, Wire},
};
#[cfg(feature = "legacy-tls")]
use crate::tls::Look;
use crate::tls::{ALPN, ClientHandshake, Edge, Refused, hello};

/// What a client may send before the handshake is over: its hello, and a chain of certificates where it is asked for one.
pub(super) const MOST: usize = 2 * hello::LONGEST;
const MOST_WITH_CERTIFICATE: usize = MOST + (64 << 10);

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientTlsError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("no handshake within {0:?}")]
    Late(Duration),
    #[error("a handshake of more than {MOST} bytes")]
    TooLong,
    /// What it sends is not TLS, or none that we speak.
    #[error("the handshake failed: {0}")]
    Failed(rustls::Error),
    /// It has gone away.
    #[error("the client's side broke in the handshake")]
    Broken(#[source] io::Error),
}

impl ClientTlsError {
    /// The product's status code.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Refused(Refused::WrongName) => 400,
            Self::Refused(Refused::NoCertificate | Refused::NoAuthorities) => 540,
            Self::Refused(Refused::NothingInCommon | Refused::NoChallenge)
            | Self::Late(_)
            | Self::TooLong
            | Self::Failed(_)
            | Self::Broken(_) => 443,
        }
    }

    /// The product's word (`ClientTlsStatus`).
    pub(crate) const fn as_str(&self) -> &'static str {
        match self.status() {
            400 => "INVALID_SNI",
            540 => "INVALID_CONFIG",
            _ => "HANDSHAKE_FAILED",
        }
    }

    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Refused(Refused::WrongName) => "client_asks_for_another_name",
            Self::Refused(Refused::NoCertificate) => "no_certificate",
            Self::Refused(Refused::NoAuthorities) => "no_client_ca",
            Self::Refused(Refused::NothingInCommon) => "client_handshake_nothing_in_common",
            Self::Refused(Refused::NoChallenge) => "client_asks_for_no_challenge",
            Self::Late(_) => "client_handshake_timeout",
            Self::TooLong => "client_handshake_too_long",
            Self::Failed(error) => match error {
                rustls::Error::NoCertificatesPresented => "client_certificate_missing",
                rustls::Error::InvalidCertificate(_) => "client_certificate_refused",
                rustls::Error::InvalidMessage(_) => "client_speaks_no_tls",
                rustls::Error::PeerIncompatible(_) => "client_handshake_nothing_in_common",
                _ => "client_handshake_failed",
            },
            Self::Broken(_) => "client_handshake_broken",
        }
    }
}

impl From<io::Error> for ClientTlsError {
    fn from(error: io::Error) -> Self {
        let Some(inner) = error.get_ref() else { return Self::Broken(error) };
        if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            return Self::Failed(error.clone());
        }
        if inner.is::<TooLong>() { Self::TooLong } else { Self::Broken(error) }
    }
}

/// Shakes hands within `patience`. What the client said of itself so far is in `facts`, also where this fails. None: it was a
/// directory that has seen what it wanted (RFC 8737), and the session is over.
pub(crate) async fn accept(
    edge: &Edge,
    client: &TcpStream,
    patience: Duration,
    facts: &mut ClientHandshake,
) -> Result<Option<Session>, ClientTlsError> {
    let deadline = Instant::now() + patience;
    let late = |_| Err(ClientTlsError::Late(patience));
    timeout_at(deadline, shake(edge, client, facts)).await.unwrap_or_else(late)
}

async fn shake(
    edge: &Edge,
    client: &TcpStream,
    facts: &mut ClientHandshake,
) -> Result<Option<Session>, ClientTlsError> {
    let (seen, look) = first::look(client).await?;
    #[cfg(feature = "legacy-tls")]
    if let Look::Hello(hello) = &look
        && edge.serves_old_clients()
    {
        facts.server_name.clone_from(&hello.server_name);
        let served = edge.legacy(hello).map_err(ClientTlsError::from);
        if let Some(session) = served.inspect_err(|error| tell(client, error, None))? {
            let shaken = older::shake(session, client, &seen, MOST).await;
            let session = shaken.inspect_err(|error| tell(client, error, None))?;
            facts.learn_legacy(&session);
            return Ok(Some(Session::OpenSsl(session)));
        }
    }
    shake_in(edge, client, seen, first::refusal(&look, edge.least_version()), facts).await
}

/// With rustls. `seen`: what was read of the client already; `refusal`: the alert if it is refused for that.
async fn shake_in(
    edge: &Edge,
    client: &TcpStream,
    seen: Vec<u8>,
    refusal: Option<u8>,
    facts: &mut ClientHandshake,
) -> Result<Option<Session>, ClientTlsError> {
    let most = if edge.asks_clients() { MOST_WITH_CERTIFICATE } else { MOST };
    let start = LazyConfigAcceptor::new(Acceptor::default(), Wire::after(client, most, seen, refusal)).await;
    let start = start.map_err(ClientTlsError::from).inspect_err(|error| tell(client, error, refusal))?;
    let config = choose(edge, &start, facts).map_err(ClientTlsError::from);
    let config = config.inspect_err(|error| tell(client, error, refusal))?;
    let (_, mut session) = start.into_stream(config).await?.into_inner();
    facts.learn(&session);
    if session.alpn_protocol() == Some(ALPN) {
        farewell::end(&mut session, client);
        return Ok(None);
    }
    if facts.resumed
        && let Some(chain) = session.peer_certificates()
        && let Err(error) = edge.verify_again(chain)
    {
        // The session knows who it is; that the certificate has ended since, it does not.
        farewell::end(&mut session, client);
        return Err(ClientTlsError::Failed(error));
    }
    Ok(Some(session.into()))
}

/// Says in clear what is wrong, where nobody has said it yet.
pub(crate) fn tell(client: &TcpStream, error: &ClientTlsError, refusal: Option<u8>) {
    let description = match error {
        ClientTlsError::Refused(Refused::WrongName) => UNRECOGNIZED_NAME,
        ClientTlsError::Refused(Refused::NoCertificate) => INTERNAL_ERROR,
        ClientTlsError::Refused(Refused::NoAuthorities) => ACCESS_DENIED,
        ClientTlsError::Refused(Refused::NothingInCommon | Refused::NoChallenge) => {
            refusal.unwrap_or(HANDSHAKE_FAILURE)
        }
        ClientTlsError::TooLong => DECODE_ERROR,
        // Of a first message that is none: rustls leaves the answer to us.
        ClientTlsError::Failed(
            rustls::Error::InappropriateMessage { .. } | rustls::Error::InappropriateHandshakeMessage { .. },
        ) => UNEXPECTED_MESSAGE,
        _ => return,
    };
    alert(client, description);
}

fn choose(
    edge: &Edge,
    start: &StartHandshake<Wire<'_>>,
    facts: &mut ClientHandshake,
) -> Result<Arc<ServerConfig>, Refused> {
    let hello = start.client_hello();
    facts.server_name = hello.server_name().map(str::to_ascii_lowercase);
    edge.config(&hello)
}
