//! The end of a connection that TLS ends: an alert that arrives.

use std::{io, net::Shutdown, time::Duration};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::{net::TcpStream, time::timeout};

/// Alerts of RFC 8446, section 6.2.
pub(crate) const UNEXPECTED_MESSAGE: u8 = 10;
pub(crate) const RECORD_OVERFLOW: u8 = 22;
pub(crate) const HANDSHAKE_FAILURE: u8 = 40;
pub(crate) const ACCESS_DENIED: u8 = 49;
pub(crate) const DECODE_ERROR: u8 = 50;
pub(crate) const PROTOCOL_VERSION: u8 = 70;
pub(crate) const INTERNAL_ERROR: u8 = 80;
pub(crate) const MISSING_EXTENSION: u8 = 109;
pub(crate) const UNRECOGNIZED_NAME: u8 = 112;
/// RFC 7301, section 3.2.
pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The level of an alert that ends a connection.
const FATAL: u8 = 2;

/// How long the peer may take to read an alert, and how much of what it still sends is thrown away meanwhile.
const WAIT: Duration = Duration::from_millis(500);
const MOST: usize = 64 << 10;

/// A fatal alert in clear, as it is before any key was agreed on.
pub(super) const fn fatal(description: u8) -> [u8; 7] {
    [0x15, 3, 3, 0, 2, FATAL, description]
}

pub(super) const fn is_fatal(record: &[u8]) -> bool {
    matches!(record, [0x15, 3, _, 0, 2, FATAL, _])
}

/// Sends such an alert.
pub(crate) fn alert(stream: &TcpStream, description: u8) {
    // Seven bytes into an empty buffer: they go whole, or the peer has gone.
    let _ = stream.try_write(&fatal(description));
}

/// Ends a session that has just begun: its peer reads an end, whatever it hoped for.
pub(super) fn end(session: &mut ServerConnection, stream: &TcpStream) {
    session.send_close_notify();
    let mut sealed = Vec::new();
    // A Vec takes every byte, and the socket's buffer is empty after a handshake.
    while session.wants_write() && session.write_tls(&mut sealed).is_ok_and(|sent| sent > 0) {}
    let _ = stream.try_write(&sealed);
}

/// Lets the last words arrive. A socket that is closed with unread bytes resets the connection, and the peer's kernel then
/// throws away what it has not read yet (RFC 2525, section 2.17).
pub(crate) async fn farewell(stream: &TcpStream) {
    if SockRef::from(stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let reading = async {
        let mut left = MOST;
        let mut bytes = [0; 1024];
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(WAIT, reading).await;
}
