//! One direction between two ends of which one is wrapped, or both: what [`super::pump`] is between plain sockets.

use std::task::{Context, Poll, ready};

use super::{
    Meter, Pools,
    buffer::{Buffer, Size},
    end::{End, Fault, Input},
    pump::Side,
};

/// What a direction reads at once at most, and moves before every other connection of the thread gets its turn: enciphering
/// takes longer than copying. Bursts of the next larger buffer do harm at both ends. The kernel takes a burst for the rate
/// at which we read, and lets the peer send as far ahead (`tcp_rcv_space_adjust`, `net/ipv4/tcp_input.c`), so that all we read
/// has left the processor's caches; and of what goes out in bursts more is lost and sent again.
const LARGEST: Size = Size::Medium;

#[derive(Debug, Default)]
pub(super) struct Flow {
    held: Option<Buffer>,
    size: Size,
    state: State,
    moved: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Reading,
    Writing,
    Ended {
        told: bool,
    },
}

impl Flow {
    /// Whether news of the end that is read from reaches this direction.
    pub(super) fn is_reading(&self) -> bool {
        self.state == State::Reading
    }

    /// How the end that is read from has ended, once it has.
    pub(super) const fn ended(&self) -> Option<bool> {
        match self.state {
            State::Ended { told } => Some(told),
            State::Reading | State::Writing => None,
        }
    }

    /// Whether bytes were read that are not written yet.
    pub(super) fn holds(&self) -> bool {
        self.state == State::Writing
    }

    /// Whether bytes were read since this was asked.
    pub(super) const fn has_moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
    }

    /// Ready once everything was read and sent; passing on the end is left to the caller.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pools: &Pools,
        from: &mut End<'_>,
        to: &mut End<'_>,
        meter: &Meter<'_>,
        now: u32,
    ) -> Poll<Result<(), (Side, Fault)>> {
        if self.ended().is_some() {
            return Poll::Ready(Ok(()));
        }
        let mut turn = 0;
        loop {
            if let Some(buffer) = &mut self.held {
                self.state = State::Writing;
                let sent = to.poll_send(cx, buffer, now);
                if buffer.is_empty() {
                    self.let_go(pools);
                }
                ready!(sent).map_err(|fault| (Side::To, fault))?;
            } else if self.state == State::Writing {
                // All of it is wrapped, and not all of it sent.
                ready!(to.poll_flush(cx)).map_err(|fault| (Side::To, fault))?;
            }
            self.state = State::Reading;
            if turn >= LARGEST.bytes() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Before a buffer is taken: an idle connection has none.
            ready!(from.poll_readable(cx)).map_err(|error| (Side::From, error.into()))?;
            let mut buffer = pools.buffers.take(self.size);
            let input = match from.poll_read(cx, pools, self.size, buffer.room()) {
                Poll::Ready(Ok(input)) => input,
                Poll::Ready(Err(fault)) => {
                    pools.buffers.give_back(buffer);
                    return Poll::Ready(Err((Side::From, fault)));
                }
                Poll::Pending => {
                    pools.buffers.give_back(buffer);
                    return Poll::Pending;
                }
            };
            match input {
                Input::Bytes(bytes) => {
                    buffer.filled(bytes);
                    meter.count(bytes);
                    self.adapt(bytes, buffer.size());
                    self.held = Some(buffer);
                    self.moved = true;
                    turn += bytes;
                }
                Input::End { told } => {
                    pools.buffers.give_back(buffer);
                    self.state = State::Ended { told };
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Grows while reads come back full, shrinks when they do not need the room.
    fn adapt(&mut self, read: usize, size: Size) {
        if read == size.bytes() {
            self.size = self.size.larger().min(LARGEST);
        } else if read <= self.size.smaller().bytes() / 2 {
            self.size = self.size.smaller();
        }
    }

    fn let_go(&mut self, pools: &Pools) {
        if let Some(buffer) = self.held.take() {
            pools.buffers.give_back(buffer);
        }
    }
}
