//! Asks one origin whether it lives.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::{Origins, tls};
use crate::{
    listen::{ConnectError, Sources, connect},
    model::{Exchange, HealthCheck},
};

/// Bytes in which what is expected must stand.
const MOST_READ: usize = 16 << 10;

/// Why a check came to nothing good, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Origin(String),
    /// It was not asked, for want of something of this host: that says nothing about it.
    Here(String),
}

pub(super) async fn check(
    origins: &Origins,
    asked: &HealthCheck,
    origin: SocketAddr,
    sources: &Sources,
) -> Result<(), Trouble> {
    let asking = async {
        let mut stream = connect(origin, sources).await.map_err(|error| match error {
            ConnectError::Local(_) | ConnectError::NoPort => Trouble::Here(error.to_string()),
            ConnectError::Origin(_) => failed(error),
        })?;
        stream.write_all(&origins.greeting).await.map_err(failed)?;
        if !asked.tls {
            return exchange(&mut stream, asked.exchange.as_ref()).await;
        }
        let mut stream = tls::handshake(stream, &origins.server_name).await.map_err(failed)?;
        exchange(&mut stream, asked.exchange.as_ref()).await?;
        // Who is left without a farewell writes it into his log. That it cannot be said any more is no fault of his.
        let _ = stream.shutdown().await;
        Ok(())
    };
    timeout(asked.timeout, asking).await.unwrap_or_else(|_| Err(too_late(asked.timeout)))
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), asked: Option<&Exchange>) -> Result<(), Trouble> {
    let Some(Exchange { send, expect }) = asked else { return Ok(()) };
    stream.write_all(send).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
            return Err(failed("it closed without the expected answer"));
        }
        if answer.windows(expect.len()).any(|window| window == expect) {
            return Ok(());
        }
        if answer.len() >= MOST_READ {
            return Err(failed(format_args!("the expected answer is not in its first {MOST_READ} bytes")));
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Trouble {
    Trouble::Origin(format!("check: {error}"))
}

fn too_late(timeout: Duration) -> Trouble {
    failed(format_args!("no answer within {}", humantime::format_duration(timeout)))
}
