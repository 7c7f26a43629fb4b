//! From an application to a connected origin, within a deadline.

use std::{fs, io, ops::RangeInclusive, sync::OnceLock, time::Duration};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{App, OriginAddr, outcome::Failure};
use crate::listen::origin_socket;

/// Why no origin accepted. Of several origins, the last one's reason.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the application has no origin for this port")]
    NoOrigin,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Before a packet was sent: descriptors, source ports, memory, permissions.
    #[error("cannot open a connection")]
    Local(#[source] io::Error),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
}

impl DialError {
    /// The product's status code.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::NoOrigin | Self::Local(_) => 524,
            Self::Timeout(_) => 522,
            Self::Connect(error) => match error.raw_os_error() {
                Some(libc::ECONNREFUSED) => 521,
                Some(libc::ETIMEDOUT) => 522,
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => 523,
                _ => 520,
            },
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        match self.status() {
            521 => "origin_refused",
            522 => "origin_timeout",
            523 => "origin_unreachable",
            524 => "dial_failed_here",
            _ => "origin_error",
        }
    }
}

/// Connects to the origin whose turn it is; where one refuses, the next is tried with the time that is left.
pub(super) async fn dial(app: &App, edge_port: u16) -> Result<(TcpStream, OriginAddr), Failure> {
    let deadline = app.config.timeouts.connect;
    let mut dialled = None;
    timeout(deadline, dial_any(app, edge_port, &mut dialled))
        .await
        .unwrap_or(Err(DialError::Timeout(deadline)))
        .map_err(|error| Failure::Dial(dialled, error))
        .and_then(|stream| Ok((stream, dialled.ok_or(Failure::Dial(None, DialError::NoOrigin))?)))
}

async fn dial_any(app: &App, edge_port: u16, dialled: &mut Option<OriginAddr>) -> Result<TcpStream, DialError> {
    let mut last = DialError::NoOrigin;
    for origin in app.origins(edge_port) {
        *dialled = Some(origin);
        match connect(origin).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(origin: OriginAddr) -> Result<TcpStream, DialError> {
    let socket = origin_socket(origin.socket_addr()).map_err(DialError::Local)?;
    let stream = TcpSocket::from_std_stream(socket.into())
        .connect(origin.socket_addr())
        .await
        .map_err(|error| if is_local(&error) { DialError::Local(error) } else { DialError::Connect(error) })?;
    // A dial to a local port of the ephemeral range where nobody listens can meet itself (simultaneous open): then it
    // is connected to nobody.
    if ephemeral_ports().contains(&origin.port()) && stream.local_addr().is_ok_and(|own| own == origin.socket_addr()) {
        return Err(DialError::Connect(io::Error::from_raw_os_error(libc::ECONNREFUSED)));
    }
    Ok(stream)
}

/// The ports that the kernel chooses for outgoing connections, as they were when first asked for.
fn ephemeral_ports() -> &'static RangeInclusive<u16> {
    static PORTS: OnceLock<RangeInclusive<u16>> = OnceLock::new();
    PORTS.get_or_init(|| {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut ports = range.split_whitespace().filter_map(|port| port.parse().ok());
        ports.next().unwrap_or(1)..=ports.next().unwrap_or(u16::MAX)
    })
}

fn is_local(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EADDRNOTAVAIL
                | libc::EADDRINUSE
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EACCES
                | libc::EPERM
                | libc::EAGAIN
                | libc::ENOSPC
        )
    )
}
