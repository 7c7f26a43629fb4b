//! One side of a connection, which is reset unless somebody says that it ended well.

use std::{cell::Cell, ops::Deref};

use tokio::net::TcpStream;

/// Closed with a reset when dropped: also where the task is cancelled or panics, so that no peer takes half a stream for
/// a whole one.
#[derive(Debug)]
pub(crate) struct Leg {
    stream: TcpStream,
    orderly: Cell<bool>,
}

impl Leg {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, orderly: Cell::new(false) }
    }

    pub(crate) const fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Its close will be that of a stream which was read to its end.
    pub(super) fn ended_well(&self) {
        self.orderly.set(true);
    }

    /// Closes it so.
    pub(crate) fn close(self) {
        self.ended_well();
    }
}

impl Deref for Leg {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        // The socket's close is a reset then, whatever is still in its buffers.
        if !self.orderly.get()
            && let Err(error) = self.stream.set_zero_linger()
        {
            log::debug!("a peer gets FIN instead of a reset: {error}");
        }
    }
}
