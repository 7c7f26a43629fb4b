//! A socket as tokio-rustls wants one, for as long as a handshake takes.

use std::{
    cell::Cell,
    io::{self, Read as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::farewell::{fatal, is_fatal};

/// The socket stays the caller's. Reads no more than it may.
#[derive(Debug)]
pub(super) struct Wire<'s> {
    stream: &'s TcpStream,
    left: Cell<usize>,
    /// Bytes that somebody has read already, to be read again before others.
    seen: io::Cursor<Vec<u8>>,
    /// An alert that goes out in place of one that is the first to be written.
    refusal: Option<u8>,
}

/// Who sends more than this before a handshake is over is not shaking hands.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes for a handshake")]
pub(super) struct TooLong;

impl<'s> Wire<'s> {
    /// `most`: bytes that may be read.
    pub(super) const fn new(stream: &'s TcpStream, most: usize) -> Self {
        Self { stream, left: Cell::new(most), seen: io::Cursor::new(Vec::new()), refusal: None }
    }

    /// `seen`: its first bytes, which count as read. `refusal`: what a client that is refused for them is told, whatever the
    /// one who refuses it would say.
    pub(super) const fn after(stream: &'s TcpStream, most: usize, seen: Vec<u8>, refusal: Option<u8>) -> Self {
        Self { stream, left: Cell::new(most.saturating_sub(seen.len())), seen: io::Cursor::new(seen), refusal }
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let seen = self.seen.read(room.initialize_unfilled())?;
        if seen > 0 {
            room.advance(seen);
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(room.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(bytes) => {
                    let Some(left) = self.left.get().checked_sub(bytes) else {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TooLong)));
                    };
                    self.left.set(left);
                    room.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An alert is a record of its own and as long as any other, so nobody notices that another one went out.
        let alert = self.refusal.filter(|_| matches!(pieces, [piece] if is_fatal(piece))).map(fatal);
        let instead = alert.as_ref().map(|alert| [io::IoSlice::new(alert)]);
        let pieces = instead.as_ref().map_or(pieces, |instead| instead);
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.refusal = None;
                    return Poll::Ready(done);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
