//! Questions to the daemon, over its control socket.

use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use crate::{dataplane::lock::control_socket, model::Instance};

/// The daemon is on this machine: what takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than the largest answer, so that a wrong peer cannot fill the memory.
const LARGEST: usize = 64 << 20;

/// Asks the daemon of an instance. None: no daemon listens, or it has no such object.
pub(super) async fn get<T: DeserializeOwned>(instance: &Instance, path: &str) -> anyhow::Result<Option<T>> {
    let Some(socket) = control_socket(instance) else { return Ok(None) };
    // Whatever the reason, nobody answers there.
    let Ok(stream) = UnixStream::connect(&socket).await else { return Ok(None) };
    timeout(PATIENCE, ask(stream, path))
        .await
        .with_context(|| format!("the daemon behind {} does not answer", socket.display()))?
        .with_context(|| format!("ask the daemon behind {}", socket.display()))
}

async fn ask<T: DeserializeOwned>(stream: UnixStream, path: &str) -> anyhow::Result<Option<T>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header("host", "spectrum").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let found = match response.status() {
        StatusCode::OK => {
            let body =
                Limited::new(response.into_body(), LARGEST).collect().await.map_err(anyhow::Error::from_boxed)?;
            Some(serde_json::from_slice(&body.to_bytes())?)
        }
        StatusCode::NOT_FOUND => None,
        status => anyhow::bail!("it answers {status}"),
    };
    connection.abort();
    Ok(found)
}
