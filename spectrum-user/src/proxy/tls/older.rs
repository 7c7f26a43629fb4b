//! The handshake with a client that rustls cannot serve, where the application wants it served all the same.
//!
//! Deliberately not here: the deadline, which is the one of every handshake (`accept`).

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{accept::ClientTlsError, wire::Wire};
use crate::tls::legacy;

/// Shakes hands, beginning with the bytes that were looked at.
pub(super) async fn shake(
    mut session: legacy::Session,
    client: &TcpStream,
    seen: &[u8],
    most: usize,
) -> Result<legacy::Session, ClientTlsError> {
    let mut wire = Wire::new(client, most.saturating_sub(seen.len()));
    let mut bytes = vec![0; 4 << 10];
    session.feed(seen);
    loop {
        let shaken = session.shake();
        let mut said = Vec::new();
        while session.wants_write() {
            session.write_to(&mut said)?;
        }
        // An alert as well, where it failed.
        wire.write_all(&said).await?;
        if shaken.map_err(ClientTlsError::Failed)? {
            return Ok(session);
        }
        let read = wire.read(&mut bytes).await?;
        if read == 0 {
            return Err(ClientTlsError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        session.feed(bytes.get(..read).unwrap_or_default());
    }
}
