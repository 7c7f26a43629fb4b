//! Takes events from the workers and writes them on a thread of its own.
//!
//! A worker never waits here: the queue is bounded, and what does not fit is counted and dropped. While events keep
//! coming the writer looks at the queue a few times a second, so that handing one over wakes nobody.

use std::{
    fmt,
    io::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};
use tokio::sync::mpsc;

use super::{Event, NodeEvent, encode::plain, file::RotatedFile};
use crate::model::EventSink;

/// Events waiting for the writer.
const QUEUE: usize = 16_384;
/// Between two looks at the queue.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines waiting for one subscriber.
const SUBSCRIBER_QUEUE: usize = 1024;

/// Where workers put their events. Cheap to clone; the last [`EventLog::close`] or drop ends the writer.
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
    writer: Mutex<Option<JoinHandle<()>>>,
    /// To wake it without taking the lock above.
    thread: std::sync::OnceLock<Thread>,
    has_sink: bool,
}

/// What a line is made of.
#[derive(Debug)]
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

/// The writer's end of a reader.
#[derive(Debug)]
struct Subscriber {
    sender: mpsc::Sender<Arc<str>>,
    missed: Arc<AtomicU64>,
}

impl Subscriber {
    /// Hands a line over, or counts it as missed. Whether anybody is there still.
    fn offer(&self, line: &Arc<str>) -> bool {
        match self.sender.try_send(Arc::clone(line)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// Every line from its making on, except for those that it was too slow for.
#[derive(Debug)]
pub struct EventReader {
    receiver: mpsc::Receiver<Arc<str>>,
    missed: Arc<AtomicU64>,
}

impl EventReader {
    /// Waits for the next line, without its end. None: the log is closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        self.receiver.recv().await
    }

    /// How many lines were missed since this was last asked.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Relaxed)
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

enum Sink {
    Nowhere,
    Stdout(io::Stdout),
    File(RotatedFile),
}

impl EventLog {
    /// Starts the writer. Without a sink events only go to subscribers.
    pub fn start(sink: Option<&EventSink>) -> Result<Self, EventLogError> {
        let out = match sink {
            None => Sink::Nowhere,
            Some(EventSink::Stdout) => Sink::Stdout(io::stdout()),
            Some(EventSink::File(path)) => Sink::File(
                RotatedFile::open(path)
                    .map_err(|source| EventLogError::Open { path: path.display().to_string(), source })?,
            ),
        };
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
        let thread = thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || writer.write_all(out))
            .map_err(EventLogError::Thread)?;
        let _ = shared.thread.set(thread.thread().clone());
        *lock(&shared.writer) = Some(thread);
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
        if self.is_wanted() {
            lock(&self.0.queue).push(Entry::Node(event));
            self.0.call();
        }
    }

    /// Every line from now on. Lines that the reader is too slow for are dropped, and it can ask how many.
    pub fn subscribe(&self) -> EventReader {
        let (sender, receiver) = mpsc::channel(SUBSCRIBER_QUEUE);
        let missed = Arc::<AtomicU64>::default();
        lock(&self.0.subscribers).push(Subscriber { sender, missed: Arc::clone(&missed) });
        self.0.wanted.store(true, Relaxed);
        EventReader { receiver, missed }
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

    /// Writes what is queued and ends the writer.
    pub fn close(&self) {
        self.0.closing.store(true, Release);
        self.0.wake();
        let writer = lock(&self.0.writer).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
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
            self.write(&mut sink, &mut batch, &mut bytes);
            if !closing {
                thread::park_timeout(PAUSE);
            }
        }
    }

    fn write(&self, sink: &mut Sink, batch: &mut Vec<Entry>, bytes: &mut Vec<u8>) {
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
        match sink.write(bytes) {
            Ok(()) => self.written.fetch_add(count, Relaxed),
            Err(error) => {
                // Once per batch, so at most a few times a second; the events are gone, the traffic is not.
                log::error!("{count} events could not be written: {error}");
                self.dropped.fetch_add(count, Relaxed)
            }
        };
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

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout(stdout) => stdout.lock().write_all(bytes).and_then(|()| stdout.flush()),
            Self::File(file) => file.write(bytes),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::{EventKind, Matched, Metrics};

    fn event(metrics: &Metrics, status: u16) -> Event {
        Event {
            kind: EventKind::Disconnect,
            status,
            reason: "closed",
            at: SystemTime::UNIX_EPOCH,
            app: metrics.app(&crate::proxy::testing::application(22, 22)),
            ip_firewall: false,
            matched: Matched::Unknown,
            client: "192.0.2.7:40000".parse().unwrap(),
            client_asn: None,
            client_country: None,
            edge: "127.77.0.1:22".parse().unwrap(),
            origin: None,
            connected: None,
            disconnected: None,
            client_bytes: 0,
            origin_bytes: 0,
            spliced_bytes: 0,
            client_rtt: Duration::ZERO,
            origin_rtt: Duration::ZERO,
        }
    }

    #[test]
    fn close_writes_everything_that_was_emitted_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let log = EventLog::start(Some(&EventSink::File(path.clone()))).unwrap();
        let metrics = Metrics::new(1);
        (0..1000).for_each(|status| log.emit(event(&metrics, status)));
        log.close();
        let lines = std::fs::read_to_string(&path).unwrap();
        let statuses: Vec<u64> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["Status"].as_u64().unwrap())
            .collect();
        assert_eq!(statuses, (0..1000).collect::<Vec<_>>());
        assert_eq!((log.written(), log.dropped()), (1000, 0));
    }

    #[test]
    fn a_sink_that_fails_costs_events_and_nothing_else() {
        let log = EventLog::start(Some(&EventSink::File("/dev/full".into()))).unwrap();
        let metrics = Metrics::new(1);
        (0..10).for_each(|status| log.emit(event(&metrics, status)));
        log.close();
        assert_eq!((log.written(), log.dropped()), (0, 10));
    }

    #[test]
    fn a_flood_is_dropped_and_counted_and_never_waited_for() {
        let log = EventLog::start(None).unwrap();
        // A reader that never reads: the writer goes on all the same.
        let mut reader = log.subscribe();
        let metrics = Metrics::new(1);
        let one = event(&metrics, 200);
        let flood = 5 * QUEUE as u64;
        (0..flood).for_each(|_| log.emit(one.clone()));
        log.tell(NodeEvent::now(crate::telemetry::NodeEventKind::ProtectionBegan));
        log.close();
        assert_eq!(log.written() + log.dropped(), flood + 1);
        assert!(log.written() >= QUEUE as u64, "{}", log.written());
        let read = std::iter::from_fn(|| reader.receiver.try_recv().ok()).count();
        assert_eq!(read, SUBSCRIBER_QUEUE, "what waits for a reader is bounded");
        assert_eq!(reader.missed(), log.written() - read as u64, "and it is told what it missed");
    }

    #[test]
    fn nothing_is_wanted_when_the_last_reader_is_gone() {
        let log = EventLog::start(None).unwrap();
        let metrics = Metrics::new(1);
        assert!(!log.is_wanted());
        drop(log.subscribe());
        assert!(log.is_wanted(), "nobody has noticed yet");
        log.emit(event(&metrics, 200));
        log.close();
        assert!(!log.is_wanted());
    }
}
