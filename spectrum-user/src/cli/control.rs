//! Questions to the daemon, over its control socket.

use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, task::JoinHandle, time::timeout};

use crate::{daemon::Refusal, dataplane::lock::control_socket, model::Instance};

/// The daemon is on this machine: what takes longer is stuck. In an attack it may be without CPU time for seconds, and
/// then an answer that comes late is worth more than none.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// More than the largest answer, so that a wrong peer cannot fill the memory.
const LARGEST: usize = 64 << 20;

/// Asks the daemon of an instance. None: no daemon listens, or it has no such object.
pub(super) async fn get<T: DeserializeOwned>(instance: &Instance, path: &str) -> anyhow::Result<Option<T>> {
    let Some((status, body)) = ask(instance, Method::GET, path, None, PATIENCE).await? else { return Ok(None) };
    match status {
        StatusCode::OK => Ok(Some(serde_json::from_slice(&body)?)),
        StatusCode::NOT_FOUND => Ok(None),
        status => anyhow::bail!("the daemon answers {status}"),
    }
}

/// Asks the daemon to do something. None: no daemon listens. Err in it: it refused, and says why.
pub(super) async fn send<T: DeserializeOwned>(
    instance: &Instance,
    method: Method,
    path: &str,
    body: Option<&serde_json::Value>,
    patience: Duration,
) -> anyhow::Result<Option<Result<T, Refusal>>> {
    let body = body.map(serde_json::to_vec).transpose()?;
    let Some((status, body)) = ask(instance, method, path, body, patience).await? else { return Ok(None) };
    if status.is_success() {
        return Ok(Some(Ok(serde_json::from_slice(&body)?)));
    }
    match serde_json::from_slice(&body) {
        Ok(refusal) => Ok(Some(Err(refusal))),
        Err(_) => anyhow::bail!("the daemon answers {status}: {}", String::from_utf8_lossy(&body).trim()),
    }
}

/// None: nobody listens there, whatever the reason.
async fn ask(
    instance: &Instance,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
    patience: Duration,
) -> anyhow::Result<Option<(StatusCode, Bytes)>> {
    let Some(socket) = control_socket(instance) else { return Ok(None) };
    let Ok(stream) = UnixStream::connect(&socket).await else { return Ok(None) };
    let answer = timeout(patience, exchange(stream, method, path, body))
        .await
        .with_context(|| format!("the daemon behind {} does not answer", socket.display()))?
        .with_context(|| format!("ask the daemon behind {}", socket.display()))?;
    Ok(Some(answer))
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (response, _connection) = request(stream, method, path, body).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(anyhow::Error::from_boxed)?;
    Ok((status, body.to_bytes()))
}

async fn request(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> anyhow::Result<(Response<Incoming>, Connection)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(async move {
        // How it ended shows in the answer.
        let _ = connection.await;
    }));
    let request = Request::builder().method(method).uri(path).header("host", "spectrum");
    let request = request.header("content-type", "application/json");
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
    Ok((sender.send_request(request).await?, connection))
}

/// What moves the bytes of an answer; it ends with this.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer that goes on until one side has enough, line by line.
pub(super) struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    _connection: Connection,
}

/// Longer than any line that the daemon writes.
const LONGEST_LINE: usize = 1 << 20;

/// Asks the daemon for lines. None: no daemon listens.
pub(super) async fn lines(instance: &Instance, path: &str) -> anyhow::Result<Option<Lines>> {
    let Some(socket) = control_socket(instance) else { return Ok(None) };
    let Ok(stream) = UnixStream::connect(&socket).await else { return Ok(None) };
    let answer = timeout(PATIENCE, request(stream, Method::GET, path, None))
        .await
        .with_context(|| format!("the daemon behind {} does not answer", socket.display()))?;
    // A daemon that is about to end takes no more questions.
    let Ok((response, connection)) = answer else { return Ok(None) };
    let status = response.status();
    anyhow::ensure!(status.is_success(), "the daemon behind {} answers {status}", socket.display());
    Ok(Some(Lines { body: response.into_body(), buffer: Vec::new(), _connection: connection }))
}

impl Lines {
    /// Waits for the next line, without its end. None: the daemon has ended, or the connection to it. Cancel safe.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            anyhow::ensure!(self.buffer.len() < LONGEST_LINE, "the daemon's line has no end");
            // However the other side went away, it is gone.
            let Some(Ok(frame)) = self.body.frame().await else { return Ok(None) };
            self.buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        }
    }
}
