//! The end of a connection that TLS ends: an alert that arrives.

use std::{io, net::Shutdown, time::Duration};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::{net::TcpStream, time::timeout};

/// Alerts of RFC 8446, section 6.2.
pub(super) const UNEXPECTED_MESSAGE: u8 = 10;
pub(super) const HANDSHAKE_FAILURE: u8 = 40;
pub(super) const ACCESS_DENIED: u8 = 49;
pub(super) const DECODE_ERROR: u8 = 50;
pub(super) const INTERNAL_ERROR: u8 = 80;
pub(super) const UNRECOGNIZED_NAME: u8 = 112;
/// RFC 7301, section 3.2.
pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;

/// How long the peer may take to read an alert, and how much of what it still sends is thrown away meanwhile.
const WAIT: Duration = Duration::from_millis(500);
const MOST: usize = 64 << 10;

/// Sends a fatal alert in clear, as it is before any key was agreed on.
pub(super) fn alert(stream: &TcpStream, description: u8) {
    const FATAL: u8 = 2;
    // Seven bytes into an empty buffer: they go whole, or the peer has gone.
    let _ = stream.try_write(&[0x15, 3, 3, 0, 2, FATAL, description]);
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
