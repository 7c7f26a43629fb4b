//! The proxy with real sockets on loopback: only steering is missing, so clients connect to the listening socket and
//! its own address is the edge address.

mod bytes;
mod dialling;
mod ending;
mod header;
mod limits;
mod resets;
mod tls;

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::sync::watch;

use super::{AppTable, Arrivals, Telemetry, Workers, testing::application};
use crate::{
    listen::{Budget, Listeners, Sources},
    model::{AccessRule, Application, DesiredState, Origins, SpliceMode},
    telemetry::{AppMetrics, AppShard, Counter, EventLog, EventReader, Metrics},
    tls::Shared,
};

/// Longer than anything takes; no test waits this long unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);
const MODES: [SpliceMode; 3] = [SpliceMode::Copy, SpliceMode::Splice, SpliceMode::Auto];

/// A running proxy with one application.
struct Edge {
    address: SocketAddr,
    /// Other descriptors of the listening sockets, as a successor has them.
    listening: Vec<OwnedFd>,
    workers: Option<Workers>,
    table: watch::Sender<Arc<AppTable>>,
    state: DesiredState,
    telemetry: Telemetry,
    lines: EventReader,
    runtime: tokio::runtime::Runtime,
}

/// An event line.
type Event = serde_json::Value;

impl Edge {
    fn before(origin: SocketAddr) -> Self {
        Self::with(origin, |_| ())
    }

    fn with(origin: SocketAddr, change: impl FnOnce(&mut Application)) -> Self {
        Self::within(Budget::divide(4096), origin, change)
    }

    fn within(budget: Budget, origin: SocketAddr, change: impl FnOnce(&mut Application)) -> Self {
        Self::holding(&Shared::default(), budget, origin, change)
    }

    fn holding(tls: &Shared, budget: Budget, origin: SocketAddr, change: impl FnOnce(&mut Application)) -> Self {
        let listeners = Listeners::bind(2).unwrap();
        let port = listeners.address().unwrap().port();
        let listening = listeners.duplicates().unwrap();
        let mut app = application(port, port);
        app.origins = direct(&[origin]);
        change(&mut app);
        let state = DesiredState { applications: vec![app], ..DesiredState::default() };
        let telemetry =
            Telemetry { metrics: Metrics::new(2), events: EventLog::start(None).unwrap(), arrivals: Arrivals::new(2) };
        let lines = telemetry.events.subscribe();
        let (table, published) =
            watch::channel(Arc::new(AppTable::new(&state, Arc::default(), tls, None, &telemetry.metrics)));
        let workers =
            Workers::start_within(budget, listeners.shares(2), &published, &telemetry, &Sources::default()).unwrap();
        workers.open();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Self { address, listening, workers: Some(workers), table, state, telemetry, lines, runtime }
    }

    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.address).unwrap())
    }

    /// A client and the origin's end of its connection.
    fn pair(&self, origin: &TcpListener) -> (TcpStream, TcpStream) {
        let client = self.connect();
        (client, patient(origin.accept().unwrap().0))
    }

    fn publish(&mut self, rules: Vec<AccessRule>) {
        self.state.rules = rules;
        let table = AppTable::new(
            &self.state,
            Arc::default(),
            &Shared::default(),
            Some(&self.table.borrow()),
            &self.telemetry.metrics,
        );
        self.table.send_replace(Arc::new(table));
    }

    fn metrics(&self) -> Arc<AppMetrics> {
        self.telemetry.metrics.app(&self.state.applications[0])
    }

    fn sum(&self, counter: fn(&AppShard) -> &Counter) -> u64 {
        self.metrics().sum(counter)
    }

    /// The next event line.
    fn event(&mut self) -> Event {
        let line = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.lines.next()).await });
        serde_json::from_str(&line.expect("no event").expect("the event log has ended")).unwrap()
    }

    /// The event that ends a connection, after the one that opened it.
    fn last_event(&mut self) -> Event {
        let connect = self.event();
        assert_eq!((&connect["Event"], &connect["Status"]), (&"connect".into(), &0.into()));
        self.event()
    }

    fn no_more_events(&mut self) {
        let more =
            self.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(200), self.lines.next()).await });
        assert!(more.is_err(), "one event too many: {more:?}");
    }

    /// Returns when no worker accepts any more.
    fn pause(&mut self) {
        let workers = self.workers.as_ref().unwrap();
        assert!(self.runtime.block_on(workers.pause()));
    }

    fn leave(&mut self, deadline: Duration) -> super::DrainReport {
        let mut workers = self.workers.take().unwrap();
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, workers.leave(deadline)).await }).unwrap()
    }

    fn drain(&mut self, deadline: Duration) -> super::DrainReport {
        self.listening.clear();
        let mut workers = self.workers.take().unwrap();
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, workers.drain(deadline)).await }).unwrap()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(mut workers) = self.workers.take() {
            self.runtime.block_on(async { tokio::time::timeout(PATIENCE, workers.cut()).await }).unwrap();
        }
        self.telemetry.events.close();
    }
}

/// Origins by address.
fn direct(origins: &[SocketAddr]) -> Origins {
    Origins::Direct(origins.iter().map(|origin| format!("tcp://{origin}").parse().unwrap()).collect())
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Waits until a socket learns of a reset, without reading from it.
fn sees_reset(stream: &TcpStream) {
    let error = eventually(|| stream.take_error().unwrap());
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
}

fn reads_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 64]).expect_err("bytes or an end instead of a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
}

fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
