//! Which worker serves an accepted connection.
//!
//! The kernel's reuseport group spreads by hash. Left at that, one of two workers holds 40 of 64 connections as a matter of
//! course: those wait behind one another while the other thread sleeps. So a worker that is ahead of the others gives what
//! it accepts to the one with the fewest open connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::mpsc;

use super::Arrival;

/// How many open connections more than the least busy worker are no reason yet: giving a connection away costs a wake-up
/// of the other thread.
const AHEAD: usize = 4;

/// The workers of a node, and how many connections each has.
#[derive(Clone, Debug)]
pub struct Spread(Arc<[Desk]>);

/// Alone in its pair of cache lines (processors fetch two at a time): every connection writes here twice.
#[derive(Debug)]
#[repr(align(128))]
struct Desk {
    seats: AtomicUsize,
    /// No more than there are permits for connections.
    inbox: mpsc::UnboundedSender<Seated>,
}

/// What other workers gave to this one.
pub type Inbox = mpsc::UnboundedReceiver<Seated>;

/// One connection in the count of a worker, until dropped.
#[derive(Debug)]
pub struct Seat {
    spread: Spread,
    worker: usize,
}

/// A connection that has its worker.
#[derive(Debug)]
pub struct Seated {
    pub arrival: Arrival,
    pub seat: Seat,
}

impl Spread {
    /// One inbox per worker, in their order.
    pub fn over(workers: usize) -> (Self, Vec<Inbox>) {
        let (desks, inboxes): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (inbox, receiver) = mpsc::unbounded_channel();
                (Desk { seats: AtomicUsize::new(0), inbox }, receiver)
            })
            .unzip();
        (Self(desks.into()), inboxes)
    }

    /// Gives a connection that `worker` accepted its place. None: another worker has it now.
    pub fn seat(&self, worker: usize, arrival: Arrival) -> Option<Seated> {
        let seats = self.0.iter().map(|desk| desk.seats.load(Relaxed));
        let other = less_busy(worker, seats).and_then(|other| Some((other, self.0.get(other)?)));
        let Some((other, desk)) = other else { return Some(self.seat_at(worker, arrival)) };
        match desk.inbox.send(self.seat_at(other, arrival)) {
            Ok(()) => None,
            // It does not take any more: it drains, or has ended.
            Err(mpsc::error::SendError(refused)) => Some(self.seat_at(worker, refused.arrival)),
        }
    }

    fn seat_at(&self, worker: usize, arrival: Arrival) -> Seated {
        if let Some(desk) = self.0.get(worker) {
            desk.seats.fetch_add(1, Relaxed);
        }
        Seated { arrival, seat: Seat { spread: self.clone(), worker } }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(desk) = self.spread.0.get(self.worker) {
            desk.seats.fetch_sub(1, Relaxed);
        }
    }
}

/// The least busy worker, if `worker` is too far ahead of it.
fn less_busy(worker: usize, seats: impl Iterator<Item = usize> + Clone) -> Option<usize> {
    let own = seats.clone().nth(worker)?;
    let (least, seats) = seats.enumerate().min_by_key(|(_, seats)| *seats)?;
    (own >= seats + AHEAD).then_some(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_ahead_gives_to_the_least_busy() {
        let least = |worker, seats: &[usize]| less_busy(worker, seats.iter().copied());
        assert_eq!(least(0, &[AHEAD, 0]), Some(1));
        assert_eq!(least(1, &[7 + AHEAD, 7 + AHEAD, 9, 7]), Some(3));
        assert_eq!(least(0, &[AHEAD - 1, 0]), None, "not worth a wake-up");
        assert_eq!(least(0, &[0, AHEAD]), None, "it is the least busy itself");
        assert_eq!(least(0, &[1000]), None, "there is no other");
    }
}
