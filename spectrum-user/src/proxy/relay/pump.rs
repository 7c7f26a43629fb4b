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
    socket::{attempt, is_at_mark, is_transient, poll_into, poll_read, poll_write, read_now},
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
    /// Whether bytes were read or written since somebody asked.
    moved: bool,
    /// There may be bytes that `splice(2)` does not get at.
    behind_mark: bool,
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
        Self {
            held: Held::Nothing,
            mode,
            size: Size::Small,
            streak: 0,
            state: State::Reading,
            broken: false,
            moved: false,
            behind_mark: false,
        }
    }

    /// Whether news of the side that is read from reaches this direction.
    pub(super) fn is_reading(&self) -> bool {
        self.state == State::Reading
    }

    /// Whether the side that is read from has ended its stream.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether bytes were read that are not written yet.
    pub(super) const fn holds(&self) -> bool {
        match &self.held {
            Held::Nothing => false,
            Held::Buffer(buffer) => !buffer.is_empty(),
            Held::Pipe(pipe) => !pipe.is_empty(),
        }
    }

    /// Whether bytes were read or written since this was asked.
    pub(super) const fn has_moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
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
            self.moved = true;
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
                    self.moved = true;
                }
            }
            Held::Pipe(pipe) => {
                while !pipe.is_empty() {
                    ready!(poll_into(to, cx, pipe.filled(), || pipe.drain(to)))?;
                    self.moved = true;
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
            if self.behind_mark {
                match self.copy_unasked(pools, from, meter) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.behind_mark = false,
                    read => return Poll::Ready(read),
                }
            }
            // Before a buffer is taken: an idle connection has none.
            ready!(from.poll_read_ready(cx))?;
            if self.is_bulk(meter)
                && let Some(read) = self.splice_in(pools, from)
            {
                match read {
                    // `__tcp_read_sock` (net/ipv4/tcp.c) never passes an urgent mark: it says that there is nothing, or
                    // that this was the end. What lies behind is to be read, and no edge of epoll will tell of it.
                    Ok(0) if is_at_mark(from) => self.behind_mark = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_at_mark(from) => {
                        self.behind_mark = true;
                    }
                    Ok(bytes) => {
                        meter.count_spliced(bytes);
                        self.adapt_spliced(bytes);
                        return Poll::Ready(Ok(bytes));
                    }
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
                continue;
            }
            return self.poll_copy_in(cx, pools, from, meter);
        }
    }

    /// Reads what there is without being told that there is something.
    fn copy_unasked(&mut self, pools: &Pools, from: &TcpStream, meter: &Meter<'_>) -> io::Result<usize> {
        self.let_go(pools);
        let mut buffer = pools.buffers.take(Size::Small);
        match read_now(from, buffer.room()) {
            Ok(bytes) => {
                buffer.filled(bytes);
                meter.count(bytes);
                self.held = Held::Buffer(buffer);
                Ok(bytes)
            }
            Err(error) => {
                pools.buffers.give_back(buffer);
                Err(error)
            }
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
