//! Whether an origin speaks TLS.
//!
//! Deliberately not here: who it is. A check asks whether it lives, and an origin whose certificate has expired does.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::tls::{Peer, danger::Anybody, provider};

static CONFIG: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    let provider = provider(Peer::Origin);
    let verifier = Arc::new(Anybody(Arc::clone(&provider)));
    // Only a provider without suites for these versions is refused.
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
});

/// `name` goes out as the server's name (SNI).
pub(super) async fn handshake(stream: TcpStream, name: &str) -> io::Result<TlsStream<TcpStream>> {
    let config = CONFIG.clone().ok_or_else(|| io::Error::other("this build has no TLS"))?;
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await
}
