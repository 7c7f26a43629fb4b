//! A header off the front of a connection.

use std::io;

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::proxy::header::{Decoded, Header, Invalid, decode, v2};

/// The longest header that is taken: room for a client's certificate, and for nobody to fill memory with.
const LONGEST: usize = v2::FIXED + (16 << 10);
/// The first read: most headers are shorter, and what follows in the same segment is not much.
const FIRST: usize = 512;

#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("its header is longer than {LONGEST} bytes")]
    TooLong,
    #[error("it ended within its header")]
    Ended,
    #[error("it sent no PROXY header: {0}")]
    Invalid(#[from] Invalid),
    #[error("its connection broke within its header")]
    Io(#[from] io::Error),
}

/// The header, and what came with it: at most [`FIRST`] bytes of the client's.
pub(super) async fn read(stream: &mut TcpStream) -> Result<(Header, Vec<u8>), Unread> {
    let mut bytes = Vec::with_capacity(FIRST);
    loop {
        let missing = match decode(&bytes)? {
            Decoded::Complete { header, length } => return Ok((header, bytes.split_off(length))),
            Decoded::Incomplete { missing } => missing,
        };
        if bytes.len() + missing > LONGEST {
            return Err(Unread::TooLong);
        }
        // Past the first read no further than the header is known to go, so that what follows it stays in the socket.
        let wanted = missing.max(FIRST.saturating_sub(bytes.len()));
        if (&mut *stream).take(wanted as u64).read_buf(&mut bytes).await? == 0 {
            return Err(Unread::Ended);
        }
    }
}
