//! The handshake of a port where challenges alone are answered (RFC 8737).

use std::time::Duration;

use rustls::server::Acceptor;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::LazyConfigAcceptor;

use super::{
    accept::{ClientTlsError, MOST, tell},
    farewell::{self, NO_APPLICATION_PROTOCOL, alert},
    wire::Wire,
};
use crate::tls::{Challenged, ClientHandshake, Refused, answer_challenge};

/// Shows a directory what it wants to see within `patience`. What the client said of itself so far is in `facts`, also where
/// this fails.
pub(crate) async fn show(
    challenged: &dyn Challenged,
    client: &TcpStream,
    patience: Duration,
    facts: &mut ClientHandshake,
) -> Result<(), ClientTlsError> {
    let deadline = Instant::now() + patience;
    let late = |_| Err(ClientTlsError::Late(patience));
    timeout_at(deadline, shake(challenged, client, facts)).await.unwrap_or_else(late)
}

async fn shake(
    challenged: &dyn Challenged,
    client: &TcpStream,
    facts: &mut ClientHandshake,
) -> Result<(), ClientTlsError> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), Wire::new(client, MOST)).await;
    let start = start.map_err(ClientTlsError::from).inspect_err(|error| tell(client, error, None))?;
    let config = {
        let hello = start.client_hello();
        facts.server_name = hello.server_name().map(str::to_ascii_lowercase);
        let config = answer_challenge(challenged, &hello);
        match &config {
            // It names protocols, and this is about them: another client's alert would say less.
            Err(Refused::NoChallenge) if hello.alpn().is_some() => alert(client, NO_APPLICATION_PROTOCOL),
            Err(error) => tell(client, &(*error).into(), None),
            Ok(_) => {}
        }
        config?
    };
    let (_, mut session) = start.into_stream(config).await?.into_inner();
    facts.learn(&session);
    farewell::end(&mut session, client);
    Ok(())
}
