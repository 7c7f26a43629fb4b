//! One direction of a connection: read here, write there, until the peer that is read from has said everything.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::{io::Interest, net::TcpStream};

use super::{
    Meter, Pools,
    buffer::{Buffer, Size},
    pipe::Pipe,
    socket::{attempt, is_transient, poll_into, poll_read, poll_write},
};
use crate::model::SpliceMode;

/// Bytes that a direction moves before every other connection of the thread gets its turn.
const TURN: usize = 1 << 20;
/// When a direction counts as bulk: so many bytes, and so many full reads one after the other.
const BULK_BYTES: u64 = 64 << 10;
const BULK_STREAK: u8 = 3;

/// Which end of a direction broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    From,
    To,
}

#[derive(Debug)]
pub(super) struct Pump {
    held: Held,
    mode: SpliceMode,
    size: Size,
    /// Full reads one after the other.
    streak: u8,
    state: State,
    broken: bool,
}

/// Where the bytes in between are.
#[derive(Debug)]
enum Held {
    Nothing,
    Buffer(Buffer),
    Pipe(Pipe),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for bytes: the reader's waker tells of everything that can happen there, errors too.
    Reading,
    Writing,
    Ended,
}

impl Pump {
    pub(super) const fn new(mode: SpliceMode) -> Self {
        Self { held: Held::Nothing, mode, size: Size::Small, streak: 0, state: State::Reading, broken: false }
    }

    /// Whether news of the side that is read from reaches this direction.
    pub(super) fn is_reading(&self) -> bool {
        self.state == State::Reading
    }

    /// Whether the side that is read from has ended its stream.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Tells that the other direction has found the side that is read from broken. A socket tells its error once: from now on its
    /// end is not one that may be passed on.
    pub(super) const fn reads_from_broken(&mut self) {
        self.broken = true;
    }

    /// Ready once everything was read and written; passing on the end is left to the caller.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pools: &Pools,
        from: &TcpStream,
        to: &TcpStream,
        meter: &Meter<'_>,
    ) -> Poll<Result<(), (Side, io::Error)>> {
        if self.state == State::Ended {
            return Poll::Ready(Ok(()));
        }
        let mut turn = 0;
        loop {
            self.state = State::Writing;
            ready!(self.poll_write(cx, to)).map_err(|error| (Side::To, error))?;
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.state = State::Reading;
            let read = match self.poll_read(cx, pools, from, meter) {
                Poll::Ready(read) => read.map_err(|error| (Side::From, error))?,
                Poll::Pending => {
                    self.let_go(pools);
                    return Poll::Pending;
                }
            };
            if read == 0 {
                self.let_go(pools);
                if self.broken {
                    return Poll::Pending;
                }
                self.state = State::Ended;
                return Poll::Ready(Ok(()));
            }
            turn += read;
        }
    }

    /// Ready when nothing is held any more.
    fn poll_write(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<()>> {
        match &mut self.held {
            Held::Nothing => {}
            Held::Buffer(buffer) => {
                while !buffer.is_empty() {
                    let bytes = ready!(poll_write(to, cx, buffer.unwritten()))?;
                    buffer.wrote(bytes);
                }
            }
            Held::Pipe(pipe) => {
                while !pipe.is_empty() {
                    ready!(poll_into(to, cx, pipe.filled(), || pipe.drain(to)))?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into something that holds nothing; 0 is the end.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        pools: &Pools,
        from: &TcpStream,
        meter: &Meter<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            // Before a buffer is taken: an idle connection has none.
            ready!(from.poll_read_ready(cx))?;
            if self.is_bulk(meter)
                && let Some(read) = self.splice_in(pools, from)
            {
                match read {
                    Ok(bytes) => {
                        meter.count_spliced(bytes);
                        self.adapt_spliced(bytes);
                        return Poll::Ready(Ok(bytes));
                    }
                    Err(error) if is_transient(&error) => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            return self.poll_copy_in(cx, pools, from, meter);
        }
    }

    fn is_bulk(&self, meter: &Meter<'_>) -> bool {
        match self.mode {
            SpliceMode::Copy => false,
            SpliceMode::Splice => true,
            SpliceMode::Auto => self.streak >= BULK_STREAK && meter.total() >= BULK_BYTES,
        }
    }

    /// None: no pipe to be had, or the kernel cannot splice these sockets.
    fn splice_in(&mut self, pools: &Pools, from: &TcpStream) -> Option<io::Result<usize>> {
        if !matches!(self.held, Held::Pipe(_)) {
            let pipe = pools.pipes.take()?;
            self.let_go(pools);
            self.held = Held::Pipe(pipe);
        }
        let Held::Pipe(pipe) = &mut self.held else { return None };
        // Less than asked for may also mean that the pipe has no slot left: so a short read says nothing here.
        let read = attempt(from, Interest::READABLE, 0, || pipe.fill(from));
        if matches!(&read, Err(error) if error.raw_os_error() == Some(libc::EINVAL)) {
            self.mode = SpliceMode::Copy;
            return None;
        }
        Some(read)
    }

    fn poll_copy_in(
        &mut self,
        cx: &mut Context<'_>,
        pools: &Pools,
        from: &TcpStream,
        meter: &Meter<'_>,
    ) -> Poll<io::Result<usize>> {
        let size = self.size;
        if !matches!(&self.held, Held::Buffer(buffer) if buffer.size() == size) {
            self.let_go(pools);
            self.held = Held::Buffer(pools.buffers.take(size));
        }
        let Held::Buffer(buffer) = &mut self.held else { return Poll::Pending };
        let bytes = ready!(poll_read(from, cx, buffer.room()))?;
        buffer.filled(bytes);
        meter.count(bytes);
        self.adapt(bytes);
        Poll::Ready(Ok(bytes))
    }

    /// Grows while reads come back full, shrinks when they do not need the room.
    fn adapt(&mut self, read: usize) {
        if read == self.size.bytes() {
            self.streak = self.streak.saturating_add(1);
            self.size = self.size.larger();
        } else {
            self.streak = 0;
            if read <= self.size.smaller().bytes() / 2 {
                self.size = self.size.smaller();
            }
        }
    }

    /// Small pieces cost a system call more with a pipe than with a buffer: a direction that has become interactive goes
    /// back to copying.
    const fn adapt_spliced(&mut self, read: usize) {
        if read >= Size::Small.bytes() {
            self.streak = 2 * BULK_STREAK;
        } else {
            self.streak = self.streak.saturating_sub(1);
        }
    }

    /// Gives back what holds nothing.
    fn let_go(&mut self, pools: &Pools) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Buffer(buffer) => pools.buffers.give_back(buffer),
            Held::Pipe(pipe) => pools.pipes.give_back(pipe),
        }
    }
}
