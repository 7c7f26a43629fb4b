//! One end of a relay that is not two plain sockets: bytes in clear on this side, whatever it is on the wire.

use std::{
    io,
    net::Shutdown,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{
    Pools,
    buffer::{Buffer, Size},
    pending_error,
    socket::{poll_read, poll_write},
};
pub(super) use crate::proxy::tls::Input;
use crate::proxy::tls::Session;

/// A socket, and what its bytes are wrapped in.
#[derive(Debug)]
pub(in crate::proxy) struct End<'s> {
    stream: &'s TcpStream,
    tls: Option<Box<Tls>>,
    /// Whether the socket took bytes since somebody asked.
    wrote: bool,
}

#[derive(Debug)]
struct Tls {
    session: Session,
    /// Bytes off the wire that are not taken apart yet.
    wire: Option<Buffer>,
    /// Bytes in clear since the connection began, or was last silent.
    sent: usize,
    /// The worker's clock when some were sent.
    sent_at: u32,
}

/// How an end breaks.
#[derive(Debug)]
pub(super) enum Fault {
    Socket(io::Error),
    Tls(rustls::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// Bytes that go out in small records: about what a first window holds (RFC 6928), so that the peer can use each segment as
/// it comes. Afterwards records are as large as they may be, which costs least.
const SMALL_FOR: usize = 14 << 10;
/// With its head and tag a record of so many bytes fits into a segment.
const SMALL: usize = 1370;
const LARGE: usize = 16 << 10;
/// Ticks of silence after which records are small again: the window has closed by then.
const SILENCE: u32 = 4;

impl<'s> End<'s> {
    pub(in crate::proxy) fn new(stream: &'s TcpStream, session: Option<Session>) -> Self {
        let tls = session.map(|session| {
            let mut tls = Box::new(Tls { session, wire: None, sent: 0, sent_at: 0 });
            // A direction bounds what it takes by its buffer, and waits until that is sent.
            tls.session.lift_limits();
            tls
        });
        Self { stream, tls, wrote: false }
    }

    pub(in crate::proxy) const fn stream(&self) -> &'s TcpStream {
        self.stream
    }

    /// Whether the socket took bytes since this was asked.
    pub(super) const fn has_written(&mut self) -> bool {
        std::mem::replace(&mut self.wrote, false)
    }

    /// Ready when there may be something to read.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls
            && (tls.wire.is_some() || tls.session.holds_plaintext())
        {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    /// Reads as much as there is and `room` takes.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        pools: &Pools,
        size: Size,
        room: &mut [u8],
    ) -> Poll<Result<Input, Fault>> {
        let Some(tls) = &mut self.tls else {
            return Poll::Ready(Ok(match ready!(poll_read(self.stream, cx, room))? {
                0 => Input::End { told: true },
                bytes => Input::Bytes(bytes),
            }));
        };
        let mut read = 0;
        loop {
            match tls.session.take(room.get_mut(read..).unwrap_or_default()).map_err(Fault::Tls)? {
                Some(Input::Bytes(bytes)) => read += bytes,
                Some(end @ Input::End { .. }) if read == 0 => return Poll::Ready(Ok(end)),
                Some(Input::End { .. }) | None => {}
            }
            if read == room.len() || (read > 0 && tls.wire.is_none()) {
                return Poll::Ready(Ok(Input::Bytes(read)));
            }
            if let Some(wire) = tls.wire.take() {
                tls.take_apart(pools, wire)?;
                continue;
            }
            let mut wire = pools.buffers.take(size);
            match poll_read(self.stream, cx, wire.room()) {
                Poll::Ready(Ok(0)) => {
                    pools.buffers.give_back(wire);
                    tls.session.feed_end()?;
                }
                Poll::Ready(Ok(bytes)) => {
                    wire.filled(bytes);
                    tls.wire = Some(wire);
                }
                Poll::Ready(Err(error)) => {
                    pools.buffers.give_back(wire);
                    return Poll::Ready(Err(error.into()));
                }
                Poll::Pending => {
                    pools.buffers.give_back(wire);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ready when everything was handed to the socket.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer, now: u32) -> Poll<Result<(), Fault>> {
        if let Some(tls) = &mut self.tls {
            tls.wrap(buffer, now)?;
            return self.poll_flush(cx);
        }
        while !buffer.is_empty() {
            let bytes = ready!(poll_write(self.stream, cx, buffer.unwritten()))?;
            buffer.wrote(bytes);
            self.wrote = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what TLS itself has to say, and what is wrapped already.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
        while tls.session.wants_write() {
            ready!(self.stream.poll_write_ready(cx))?;
            match tls.session.write_to(&mut Socket(self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error.into())),
                Ok(_) => self.wrote = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on that there is no more. Ready when that was handed to the socket.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, ending: &mut Ending) -> Poll<Result<(), Fault>> {
        if let Ending::Begun { told } = *ending {
            if let Some(tls) = self.tls.as_mut().filter(|_| told) {
                tls.session.send_close_notify();
            }
            *ending = Ending::Said;
        }
        if *ending == Ending::Said {
            ready!(self.poll_flush(cx))?;
            match SockRef::from(self.stream).shutdown(Shutdown::Write) {
                // It was reset, and nobody has asked it since.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    return Poll::Ready(Err(pending_error(self.stream).into()));
                }
                done => done?,
            }
            *ending = Ending::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// The last words where nobody waits for them to be sent: an alert, or the end of an idle stream.
    pub(in crate::proxy) fn last_words(&mut self, in_order: bool) {
        let Some(tls) = &mut self.tls else { return };
        if in_order {
            tls.session.send_close_notify();
        }
        while tls.session.wants_write() && tls.session.write_to(&mut Socket(self.stream)).is_ok_and(|sent| sent > 0) {}
    }
}

/// How far the passing on of an end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    #[default]
    Open,
    Begun {
        told: bool,
    },
    Said,
    Done,
}

impl Tls {
    /// Takes a piece of what came off the wire apart. What is in clear then must be taken before the next piece.
    fn take_apart(&mut self, pools: &Pools, mut wire: Buffer) -> Result<(), Fault> {
        let (taken, processed) = self.session.feed(wire.unwritten());
        let taken = taken.inspect(|taken| wire.wrote(*taken));
        // Behind a farewell nothing is taken.
        if wire.is_empty() || processed.is_err() || !taken.as_ref().is_ok_and(|taken| *taken > 0) {
            pools.buffers.give_back(wire);
        } else {
            self.wire = Some(wire);
        }
        processed.map_err(Fault::Tls)?;
        taken?;
        Ok(())
    }

    fn wrap(&mut self, buffer: &mut Buffer, now: u32) -> Result<(), Fault> {
        if buffer.is_empty() {
            return Ok(());
        }
        if now.wrapping_sub(self.sent_at) >= SILENCE {
            self.sent = 0;
        }
        self.sent_at = now;
        while !buffer.is_empty() {
            let most = if self.sent < SMALL_FOR { SMALL } else { LARGE };
            let bytes = buffer.unwritten();
            let record = bytes.get(..most.min(bytes.len())).unwrap_or(bytes);
            let taken = self.session.wrap(record)?;
            if taken == 0 {
                return Err(Fault::Socket(io::ErrorKind::WriteZero.into()));
            }
            self.sent = self.sent.saturating_add(taken);
            buffer.wrote(taken);
        }
        Ok(())
    }
}

/// Where a session writes to.
struct Socket<'s>(&'s TcpStream);

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
