//! New clients at a fixed rate, each from an address of its own: does it get through, and how long does that take?

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};

use super::exchange::{Advance as _, Exchange, Step};
use super::latency::Latencies;
use super::requests::Pacer;
use crate::window::Clock;

/// Who is not answered for this long has failed: time for a SYN to be sent again, once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What became of them.
pub(crate) struct Clients {
    /// Time from the moment a connect was due until the handshake was done; [`PATIENCE`] where it all came to nothing.
    pub(crate) times: Latencies,
    tried: u32,
    served: u32,
}

impl Clients {
    /// The share that was answered, of 1.
    pub(crate) fn success(&self) -> f64 {
        f64::from(self.served) / f64::from(self.tried.max(1))
    }
}

/// Begins a connection `every` so often until the clock ends, and sees all of them to their end. Must run inside the
/// client's namespace.
pub(crate) fn run(to: SocketAddr, fresh: impl Fn() -> IpAddr, every: Duration, clock: &Clock) -> Result<Clients> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut pacer = Pacer::start(every, &epoll)?;
    let mut attempts = Attempts { open: VecDeque::new(), first: 0, times: Latencies::default(), served: 0 };
    let mut tried = 0;
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::from(20u8)) {
            Err(Errno::EINTR) => continue,
            answer => answer?,
        };
        let now = Instant::now();
        attempts.give_up(now);
        if clock.over(now) && attempts.open.is_empty() {
            let times = Latencies::merge([attempts.times]);
            return Ok(Clients { times, tried, served: attempts.served });
        }
        for event in events.iter().take(count) {
            if event.data() != Pacer::KEY {
                attempts.advance(event.data(), now);
                continue;
            }
            for (_, due) in pacer.due(now)? {
                if clock.counts(due) {
                    tried += 1;
                    let key = attempts.first + attempts.open.len() as u64;
                    let exchange = Exchange::begin(fresh(), to, &epoll, key);
                    attempts.add(exchange.map(|exchange| Attempt { exchange, due, established: None }));
                }
            }
        }
    }
}

/// In the order they began, so that the oldest is the first to lose patience.
struct Attempts {
    open: VecDeque<Option<Attempt>>,
    /// Number of the first of them.
    first: u64,
    times: Latencies,
    served: u32,
}

impl Attempts {
    fn add(&mut self, attempt: io::Result<Attempt>) {
        if attempt.is_err() {
            self.times.record(PATIENCE);
        }
        self.open.push_back(attempt.ok());
    }

    fn advance(&mut self, key: u64, now: Instant) {
        let index = usize::try_from(key.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        let Some(slot) = self.open.get_mut(index) else { return };
        let Some(attempt) = slot else { return };
        match attempt.exchange.advance() {
            Ok(Step::Nothing) => return,
            Ok(Step::Asked) => {
                attempt.established = Some(now);
                return;
            }
            Ok(Step::Answered) => {
                self.times.record(attempt.established.unwrap_or(now) - attempt.due);
                self.served += 1;
            }
            Err(_) => self.times.record(PATIENCE),
        }
        *slot = None;
    }

    fn give_up(&mut self, now: Instant) {
        while let Some(oldest) = self.open.front() {
            match oldest {
                Some(attempt) if now.saturating_duration_since(attempt.due) < PATIENCE => return,
                Some(_) => self.times.record(PATIENCE),
                None => {}
            }
            self.open.pop_front();
            self.first += 1;
        }
    }
}

struct Attempt {
    exchange: Exchange,
    due: Instant,
    /// When the handshake was done.
    established: Option<Instant>,
}
