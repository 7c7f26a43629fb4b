//! Takes events from the workers and writes them on a thread of its own.
//!
//! A worker never waits here: the queue is bounded, and what does not fit is counted and dropped. While events keep
//! coming the writer looks at the queue a few times a second, so that handing one over wakes nobody.

mod reader;
mod sink;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

pub use self::reader::EventReader;
use self::{reader::Subscriber, sink::Sink};
use super::{Event, NodeEvent, encode::plain};
use crate::model::EventSink;

/// Events waiting for the writer.
const QUEUE: usize = 16_384;
/// Events of the node that may wait besides.
const NODE_EVENTS: usize = 1024;
/// How long the end of the process waits for a writer that does not get rid of its lines.
const LAST: Duration = Duration::from_secs(2);
/// Between two complaints of the log.
const TOLD: Duration = Duration::from_secs(10);
/// Between two looks at the queue.
const PAUSE: Duration = Duration::from_millis(50);

/// Where workers put their events. Cheap to clone; [`EventLog::close`] ends the writer.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Vec<Entry>>,
    /// Whether anybody reads: a sink, or a subscriber.
    wanted: AtomicBool,
    closing: AtomicBool,
    /// The writer sleeps until it is called.
    asleep: AtomicBool,
    dropped: AtomicU64,
    written: AtomicU64,
    subscribers: Mutex<Vec<Subscriber>>,
    writer: Mutex<Option<Writer>>,
    /// To wake it without taking the lock above.
    thread: std::sync::OnceLock<Thread>,
    has_sink: bool,
}

#[derive(Debug)]
struct Writer {
    thread: JoinHandle<()>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

/// What a line is made of.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one, which a box would cost an allocation")]
enum Entry {
    Connection(Event),
    Node(NodeEvent),
}

impl Entry {
    fn write_line(&self, line: &mut Vec<u8>) {
        match self {
            Self::Connection(event) => event.write_line(line),
            Self::Node(event) => event.write_line(line),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    #[error("cannot open the event log {path}")]
    Open {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the thread that writes events")]
    Thread(#[source] io::Error),
}

impl EventLog {
    /// Starts the writer. Without a sink events only go to subscribers.
    pub fn start(sink: Option<&EventSink>) -> Result<Self, EventLogError> {
        let out = Sink::open(sink)?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wanted: AtomicBool::new(sink.is_some()),
            closing: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
            subscribers: Mutex::default(),
            writer: Mutex::default(),
            thread: std::sync::OnceLock::new(),
            has_sink: sink.is_some(),
        });
        let writer = Arc::clone(&shared);
        let (running, ended) = sync_channel(0);
        let thread = thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || {
                writer.write_all(out);
                drop(running);
            })
            .map_err(EventLogError::Thread)?;
        let _ = shared.thread.set(thread.thread().clone());
        *lock(&shared.writer) = Some(Writer { thread, ended });
        Ok(Self(shared))
    }

    /// Whether an event would be read by anybody: saves making it.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.0.wanted.load(Relaxed)
    }

    /// Hands an event over, or drops and counts it.
    pub fn emit(&self, event: Event) {
        if !self.is_wanted() {
            return;
        }
        {
            let mut queue = lock(&self.0.queue);
            if queue.len() >= QUEUE {
                self.0.dropped.fetch_add(1, Relaxed);
                return;
            }
            queue.push(Entry::Connection(event));
        }
        self.0.call();
    }

    /// Hands an event of the node over. There are few, and the queue has room for them when it is full of connections'.
    pub fn tell(&self, event: NodeEvent) {
        if !self.is_wanted() {
            return;
        }
        {
            let mut queue = lock(&self.0.queue);
            if queue.len() >= QUEUE + NODE_EVENTS {
                self.0.dropped.fetch_add(1, Relaxed);
                return;
            }
            queue.push(Entry::Node(event));
        }
        self.0.call();
    }

    /// Every line from now on. Lines that the reader is too slow for are dropped, and it can ask how many.
    pub fn subscribe(&self) -> EventReader {
        let (subscriber, reader) = reader::pair();
        lock(&self.0.subscribers).push(subscriber);
        self.0.wanted.store(true, Relaxed);
        reader
    }

    /// Ends the readers, when they have what was written until now.
    pub fn dismiss(&self) {
        lock(&self.0.subscribers).clear();
    }

    /// Events that did not fit into the queue, or could not be written.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    pub fn written(&self) -> u64 {
        self.0.written.load(Relaxed)
    }

    /// Adds the log's own counters.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// Writes what is queued and ends the writer, unless nobody takes it: a full pipe must not keep this process.
    pub fn close(&self) {
        self.0.closing.store(true, Release);
        self.0.wake();
        let Some(Writer { thread, ended }) = lock(&self.0.writer).take() else { return };
        if ended.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            let left = std::mem::take(&mut *lock(&self.0.queue)).len() as u64;
            self.0.dropped.fetch_add(left, Relaxed);
            log::error!("nobody takes the events: the last ones, {left} and what is being written, are lost");
        } else if thread.join().is_err() {
            log::error!("the thread that writes events has panicked");
        }
    }
}

impl Collector for EventLog {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        plain(&mut encoder, "spectrum_events_written", "Connection events that were written", self.written())?;
        plain(
            &mut encoder,
            "spectrum_events_dropped",
            "Connection events that were lost: nothing waits for a slow writer",
            self.dropped(),
        )
    }
}

impl Shared {
    fn write_all(&self, mut sink: Sink) {
        let mut bytes = Vec::new();
        let mut batch = Vec::new();
        let mut told = None;
        loop {
            let closing = self.closing.load(Acquire);
            std::mem::swap(&mut *lock(&self.queue), &mut batch);
            if batch.is_empty() {
                if closing {
                    return;
                }
                self.sleep();
                continue;
            }
            self.write(&mut sink, &mut batch, &mut bytes, &mut told);
            if !closing {
                thread::park_timeout(PAUSE);
            }
        }
    }

    fn write(&self, sink: &mut Sink, batch: &mut Vec<Entry>, bytes: &mut Vec<u8>, told: &mut Option<Instant>) {
        let mut subscribers = lock(&self.subscribers);
        let count = batch.len() as u64;
        for event in batch.drain(..) {
            let start = bytes.len();
            event.write_line(bytes);
            if let Some(line) = bytes.get(start..).and_then(|line| str::from_utf8(line).ok())
                && !subscribers.is_empty()
            {
                let line: Arc<str> = line.trim_end().into();
                subscribers.retain(|subscriber| subscriber.offer(&line));
            }
        }
        self.wanted.store(self.has_sink || !subscribers.is_empty(), Relaxed);
        drop(subscribers);
        let (written, outcome) = sink.write(bytes);
        let lost = count.saturating_sub(written);
        self.written.fetch_add(count - lost, Relaxed);
        self.dropped.fetch_add(lost, Relaxed);
        // The events are gone, the traffic is not; a full disk says the same twenty times a second.
        if let Err(error) = outcome
            && told.is_none_or(|last| last.elapsed() >= TOLD)
        {
            log::error!("{lost} events could not be written: {error}");
            *told = Some(Instant::now());
        }
        bytes.clear();
        bytes.shrink_to(1 << 20);
    }

    /// Until somebody emits.
    fn sleep(&self) {
        self.asleep.store(true, Release);
        // Whoever emitted before it could see `asleep` is seen here.
        if lock(&self.queue).is_empty() && !self.closing.load(Acquire) {
            thread::park();
        }
        self.asleep.store(false, Release);
    }

    /// Calls the writer, if nobody has.
    fn call(&self) {
        if self.asleep.load(Acquire) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
