//! New connections, one after the other in many slots: connect, one message and its answer, close.
//!
//! The client closes first and in order, so the `TIME_WAIT` is its own; its many addresses and `tcp_tw_reuse` keep it
//! in ports.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};

use super::exchange::{Advance, Step};
use super::latency::Latencies;
use crate::window::Clock;

/// A connection that is not answered for this long has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// More failures than this and the figure means nothing.
const FAILURES: usize = 1000;

/// What one generator thread did within the window.
#[derive(Default)]
pub(crate) struct Churn {
    /// Time from the connect to the whole answer.
    pub(crate) times: Latencies,
    pub(crate) failures: usize,
}

/// Keeps `slots` connections going until the clock ends; `begin` is told from where, and the key for the slot. Must run
/// inside the client's namespace.
pub(crate) fn run<A: Advance>(
    sources: &[IpAddr],
    slots: usize,
    clock: &Clock,
    begin: impl Fn(IpAddr, &Epoll, u64) -> io::Result<A>,
) -> Result<Churn> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut sources = sources.iter().copied().cycle();
    let mut source = || sources.next().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut churn = Churn::default();
    let mut connections: Vec<Option<Connection<A>>> = (0..slots).map(|_| None).collect();
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let now = Instant::now();
        if clock.over(now) {
            return Ok(churn);
        }
        for (key, slot) in connections.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|connection| now - connection.began > PATIENCE) {
                *slot = None;
                churn.fail(&io::Error::from(ErrorKind::TimedOut))?;
            }
            if slot.is_none() {
                match begin(source(), &epoll, key as u64) {
                    Ok(exchange) => *slot = Some(Connection { exchange, began: now }),
                    Err(error) => churn.fail(&error)?,
                }
            }
        }
        let count = match epoll.wait(&mut events, EpollTimeout::from(100u8)) {
            Err(Errno::EINTR) => continue,
            answer => answer?,
        };
        for event in events.iter().take(count) {
            let Some(slot) = usize::try_from(event.data()).ok().and_then(|key| connections.get_mut(key)) else {
                continue;
            };
            let Some(connection) = slot else { continue };
            match connection.exchange.advance() {
                Ok(Step::Nothing | Step::Asked) => {}
                Ok(Step::Answered) => {
                    let now = Instant::now();
                    if clock.counts(now) {
                        churn.times.record(now - connection.began);
                    }
                    *slot = None;
                }
                Err(error) => {
                    *slot = None;
                    churn.fail(&error)?;
                }
            }
        }
    }
}

impl Churn {
    fn fail(&mut self, error: &io::Error) -> Result<()> {
        self.failures += 1;
        if self.failures > FAILURES {
            bail!("more than {FAILURES} connections failed, the last with: {error}");
        }
        Ok(())
    }
}

struct Connection<A> {
    exchange: A,
    began: Instant,
}
