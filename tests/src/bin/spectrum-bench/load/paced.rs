//! Open connections that carry a steady stream each: half of them send, half receive, all together at a fixed rate.
//!
//! What could not be moved when it was due is tried again with the next part, so a short stop is made good and a lasting
//! one shows.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};

use super::connect;
use super::requests::Pacer;
use crate::world::Namespace;

/// Bytes that become due at once.
pub(crate) const PART: usize = 16 * 1024;
/// What a stream may be behind: more is never made good.
const BEHIND: usize = 8 * PART;

/// Running streams; they end when this is dropped.
pub(crate) struct Paced {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Paced {
    /// Opens `count` streams; every `every`, the next of them may move [`PART`] bytes.
    pub(crate) fn start(
        client: &Namespace,
        sink: SocketAddr,
        source: SocketAddr,
        count: usize,
        every: Duration,
    ) -> Result<Self> {
        let open = |number: usize| {
            let (to, sends) = if number.is_multiple_of(2) { (sink, true) } else { (source, false) };
            let stream = connect::blocking(to).with_context(|| format!("open stream {number} to {to}"))?;
            stream.set_nonblocking(true)?;
            Ok(Stream { socket: stream, sends, due: 0 })
        };
        let streams = client.run(|| (0..count).map(open).collect::<Result<Vec<_>>>())?;
        let mut paced = Self { stop: Arc::default(), received: Arc::default(), thread: None };
        let (stop, received) = (Arc::clone(&paced.stop), Arc::clone(&paced.received));
        paced.thread = Some(thread::spawn(move || carry(streams, every, &stop, &received)));
        Ok(paced)
    }

    /// Bytes that have been received so far; what was sent is counted by who got it.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends them, and says if one of them broke.
    pub(crate) fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the streams' thread panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever cares how they ended calls `end`.
            let _ = thread.join();
        }
    }
}

struct Stream {
    socket: TcpStream,
    sends: bool,
    /// Bytes that should have been moved already.
    due: usize,
}

fn carry(mut streams: Vec<Stream>, every: Duration, stop: &AtomicBool, received: &AtomicU64) -> Result<()> {
    ensure!(!streams.is_empty(), "no streams");
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut pacer = Pacer::start(every, &epoll)?;
    let mut buffer = vec![0; PART];
    let mut events = [EpollEvent::empty()];
    while !stop.load(Ordering::Relaxed) {
        match epoll.wait(&mut events, EpollTimeout::from(100u8)) {
            Err(Errno::EINTR) => continue,
            answer => answer?,
        };
        for (number, _) in pacer.due(Instant::now())? {
            let index = number % streams.len();
            let Some(stream) = streams.get_mut(index) else { continue };
            stream.due = (stream.due + PART).min(BEHIND);
            let moved = stream.advance(&mut buffer).with_context(|| format!("stream {index}"))?;
            if !stream.sends {
                received.fetch_add(moved, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

impl Stream {
    /// Moves what is due, as far as that goes now.
    fn advance(&mut self, buffer: &mut [u8]) -> Result<u64> {
        let mut moved = 0;
        while self.due > 0 {
            let most = self.due.min(buffer.len());
            let (part, _) = buffer.split_at_mut(most);
            let answer = if self.sends { self.socket.write(part) } else { self.socket.read(part) };
            match answer {
                Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(count) => {
                    self.due -= count;
                    moved += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(moved)
    }
}
