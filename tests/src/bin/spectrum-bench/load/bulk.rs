//! Streams that move as many bytes as they can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::Result;

use super::Duplex;
use crate::origin::BULK;
use crate::world::Namespace;

/// Opens a connection inside the client's namespace.
pub(crate) trait Open: Fn() -> Result<Box<dyn Duplex>> + Sync {}

impl<F: Fn() -> Result<Box<dyn Duplex>> + Sync> Open for F {}

/// Running streams; they end when this is dropped.
pub(crate) struct Streams {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Streams {
    /// Has `count` streams opened that read all they get.
    pub(crate) fn download(client: &Namespace, count: usize, open: impl Open) -> Result<Self> {
        Self::start(client, count, open, |mut stream, stop, received| {
            let mut buffer = vec![0; BULK];
            while !stop.load(Ordering::Relaxed) {
                let Ok(read @ 1..) = stream.read(&mut buffer) else { return };
                received.fetch_add(read as u64, Ordering::Relaxed);
            }
        })
    }

    /// Has `count` streams opened that write all they can; what arrives is counted by the origin.
    pub(crate) fn upload(client: &Namespace, count: usize, open: impl Open) -> Result<Self> {
        Self::start(client, count, open, |mut stream, stop, _| {
            let zeros = vec![0; BULK];
            while !stop.load(Ordering::Relaxed) && stream.write_all(&zeros).is_ok() {}
        })
    }

    fn start(
        client: &Namespace,
        count: usize,
        open: impl Open,
        work: impl Fn(Box<dyn Duplex>, &AtomicBool, &AtomicU64) + Copy + Send + 'static,
    ) -> Result<Self> {
        let mut streams = Self { stop: Arc::default(), received: Arc::default(), threads: Vec::new() };
        for _ in 0..count {
            let stream = client.run(&open)?;
            let (stop, received) = (Arc::clone(&streams.stop), Arc::clone(&streams.received));
            streams.threads.push(thread::spawn(move || work(stream, &stop, &received)));
        }
        Ok(streams)
    }

    /// Bytes that downloads have read so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Streams that still run.
    pub(crate) fn alive(&self) -> usize {
        self.threads.iter().filter(|thread| !thread.is_finished()).count()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Bounded by the deadlines of the sockets; a panic was already printed.
            let _ = thread.join();
        }
    }
}
