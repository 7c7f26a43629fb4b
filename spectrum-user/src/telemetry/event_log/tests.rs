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
        proxy_protocol: "off",
        unique_id: None,
        matched: Matched::Unknown,
        client_tls: None,
        tls_mode: "off",
        origin_tls: None,
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
fn a_pipe_that_nobody_reads_keeps_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let log = EventLog::start(Some(&EventSink::File(path))).unwrap();
    let metrics = Metrics::new(1);
    (0..1000).for_each(|status| log.emit(event(&metrics, status)));
    let begin = Instant::now();
    // What comes while the writer waits.
    while !lock(&log.0.queue).is_empty() && begin.elapsed() < LAST {
        thread::yield_now();
    }
    (0..7).for_each(|status| log.emit(event(&metrics, status)));
    let begin = Instant::now();
    log.close();
    assert!(begin.elapsed() < 2 * LAST, "{:?}", begin.elapsed());
    assert!(log.dropped() >= 7, "{}", log.dropped());
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
    // A busy machine takes longer to write a whole queue than the end of a process waits for it.
    let deadline = Instant::now() + Duration::from_mins(1);
    while log.written() + log.dropped() < flood + 1 && Instant::now() < deadline {
        thread::yield_now();
    }
    log.close();
    assert_eq!(log.written() + log.dropped(), flood + 1);
    assert!(log.written() >= QUEUE as u64, "{}", log.written());
    let read = std::iter::from_fn(|| reader.receiver.try_recv().ok()).count();
    assert_eq!(read, reader::QUEUE, "what waits for a reader is bounded");
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
