//! Small requests on connections that stay: as fast as answers come, or at a fixed rate.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::latency::Latencies;
use super::{MESSAGE, connect};
use crate::window::Clock;

/// How requests follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The next one on a connection as soon as it is answered.
    Closed,
    /// One every interval over all connections, whether or not answers keep up: a time counts from the moment the
    /// request was due, so that a contestant that stalls is not asked less.
    Every(Duration),
}

/// Asks on `count` connections until the clock ends and returns the times within the window. Must run inside the
/// client's namespace.
pub(crate) fn run(to: SocketAddr, count: usize, pace: Pace, clock: &Clock) -> Result<Latencies> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut connections = Vec::new();
    for key in 0..count {
        let stream = connect::blocking(to).with_context(|| format!("connect to {to}"))?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, key as u64))?;
        connections.push(Connection { stream, due: VecDeque::new(), answered: 0 });
    }
    let mut pacer = match pace {
        Pace::Closed => {
            let now = Instant::now();
            connections.iter_mut().try_for_each(|connection| connection.ask(now))?;
            None
        }
        Pace::Every(interval) => Some(Pacer::start(interval, &epoll)?),
    };
    let mut times = Latencies::default();
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::from(100u8)) {
            Err(Errno::EINTR) => continue,
            answer => answer?,
        };
        let now = Instant::now();
        if clock.over(now) {
            return Ok(times);
        }
        for event in events.iter().take(ready) {
            if event.data() == Pacer::KEY {
                let Some(pacer) = pacer.as_mut() else { continue };
                for (key, due) in pacer.due(now)? {
                    if let Some(connection) = connections.get_mut(key % count) {
                        connection.ask(due)?;
                    }
                }
                continue;
            }
            let key = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Some(connection) = connections.get_mut(key) else { continue };
            while let Some(due) = connection.answer().context("read an answer")? {
                let now = Instant::now();
                if clock.counts(now) {
                    times.record(now.saturating_duration_since(due));
                }
                if pacer.is_none() {
                    connection.ask(now)?;
                }
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// When each request that is not answered yet was due; the first of them is under way.
    due: VecDeque<Instant>,
    answered: usize,
}

impl Connection {
    /// Asks, now or when the request before it is answered.
    fn ask(&mut self, due: Instant) -> io::Result<()> {
        self.due.push_back(due);
        if self.due.len() == 1 { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> io::Result<()> {
        match self.stream.write(&[b'?'; MESSAGE])? {
            MESSAGE => Ok(()),
            _ => Err(io::Error::other("a small request was cut")),
        }
    }

    /// When the request was due whose answer has just become whole, if one has.
    fn answer(&mut self) -> io::Result<Option<Instant>> {
        let mut buffer = [0; MESSAGE];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.answered += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        if self.answered < MESSAGE {
            return Ok(None);
        }
        self.answered = 0;
        let due = self.due.pop_front();
        if !self.due.is_empty() {
            self.send()?;
        }
        Ok(due)
    }
}

/// Says when requests are due. A timer of its own because epoll's timeouts are whole milliseconds.
pub(super) struct Pacer {
    timer: TimerFd,
    start: Instant,
    interval: Duration,
    issued: u32,
}

impl Pacer {
    pub(super) const KEY: u64 = u64::MAX;

    pub(super) fn start(interval: Duration, epoll: &Epoll) -> Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        timer.set(Expiration::Interval(TimeSpec::from(interval)), TimerSetTimeFlags::empty())?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, Self::KEY))?;
        Ok(Self { timer, start: Instant::now(), interval, issued: 0 })
    }

    /// The requests that have become due, with their numbers.
    pub(super) fn due(&mut self, now: Instant) -> Result<Vec<(usize, Instant)>> {
        match self.timer.wait() {
            Ok(()) | Err(Errno::EAGAIN) => {}
            Err(error) => return Err(error).context("read the timer"),
        }
        let mut due = Vec::new();
        loop {
            let at = self.start + self.interval * self.issued;
            if at > now {
                return Ok(due);
            }
            due.push((self.issued as usize, at));
            self.issued += 1;
        }
    }
}
