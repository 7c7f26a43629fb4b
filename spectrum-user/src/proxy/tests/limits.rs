//! What happens when there is too much: connections, descriptors, bytes that nobody reads.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    process::Command,
    rc::Rc,
    time::Duration,
};

use nix::{
    sys::resource::{Resource, UsageWho, getrusage, setrlimit},
    sys::time::TimeValLike as _,
};

use super::{Edge, eventually, listen, reads_reset};
use crate::{
    listen::Budget,
    proxy::{
        ClientAddr,
        connection::{Connection, Place},
        serve::serve,
        worker::Worker,
    },
};

#[test]
fn a_full_house_turns_clients_away_until_somebody_leaves() {
    let (origin, address) = listen();
    let edge = Edge::within(Budget { connections: 2, pipes: 2 }, address, |_| ());
    let first = edge.pair(&origin);
    let _second = edge.pair(&origin);
    reads_reset(&mut edge.connect());
    assert_eq!(eventually(|| Some(shed(&edge)).filter(|(full, _)| *full > 0)), (1, 0));
    drop(first);
    eventually(|| (edge.metrics().active() == 1).then_some(()));
    let (mut client, mut server) = edge.pair(&origin);
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
}

#[test]
fn no_worker_has_many_more_connections_than_another() {
    let (origin, address) = listen();
    let edge = Edge::before(address);
    let mut pairs: Vec<_> = (0..200).map(|_| edge.pair(&origin)).collect();
    let open = || {
        let active = |worker| edge.metrics().worker(worker).map_or(0, |s| s.opened.value() - s.closed.value());
        (active(0), active(1))
    };
    // By hash alone one would be ahead by 14 on average, and by fewer than 8 in less than half of all cases.
    let even = |(first, second): (u64, u64)| first.abs_diff(second) <= 8;
    assert!(even(open()), "{:?}", open());
    // What was given away works like any other.
    for (client, server) in &mut pairs {
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    }
    for _ in 0..5 {
        pairs.drain(..20);
        eventually(|| (edge.metrics().active() == 180).then_some(()));
        pairs.extend((0..20).map(|_| edge.pair(&origin)));
        assert!(even(open()), "{:?}", open());
    }
}

/// In a process of its own, because the limit is the process's.
#[test]
fn no_descriptors_left_turns_clients_away_without_spinning() {
    const CHILD: &str = "SPECTRUM_TEST_NO_DESCRIPTORS";
    // So many that some of them meet each way of being turned away.
    const CLIENTS: u64 = 24;
    if std::env::var_os(CHILD).is_none() {
        let test = "proxy::tests::limits::no_descriptors_left_turns_clients_away_without_spinning";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        return;
    }
    let (origin, address) = listen();
    let edge = Edge::before(address);
    // Sockets of clients that are not connected yet, so that they can connect when nothing can be opened any more.
    let clients: Vec<socket2::Socket> = (0..CLIENTS)
        .map(|_| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap())
        .collect();
    let (mut open, mut served) = edge.pair(&origin);
    setrlimit(Resource::RLIMIT_NOFILE, lowest_free_descriptor(), 4096).unwrap();

    // Kept open: a descriptor that a client gives back would be used at once.
    let mut turned_away = Vec::new();
    for client in clients {
        // The reset may be there before the system call returns.
        let connected = client.connect(&edge.address.into());
        if let Err(error) = &connected {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        let mut client = super::patient(client.into());
        if connected.is_ok() {
            reads_reset(&mut client);
        }
        turned_away.push(client);
    }
    // Turned away at accept, or, where a worker came by the descriptor of another's reserve, for want of one to dial with.
    let without_descriptor = || shed(&edge).1 + edge.sum(|s| &s.dial_errors[4]);
    assert_eq!(eventually(|| Some(without_descriptor()).filter(|n| *n >= CLIENTS)), CLIENTS);
    assert!(shed(&edge).1 > 0, "the accept loop has not met the limit");
    open.write_all(b"x").unwrap();
    served.read_exact(&mut [0]).unwrap();
    let before = cpu_time();
    std::thread::park_timeout(Duration::from_millis(500));
    let spent = cpu_time().checked_sub(before).unwrap();
    assert!(spent < Duration::from_millis(100), "the accept loop spins: {spent:?}");

    setrlimit(Resource::RLIMIT_NOFILE, 4096, 4096).unwrap();
    let (mut client, mut server) = edge.pair(&origin);
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
}

#[test]
fn bytes_that_nobody_reads_cost_one_buffer_or_one_pipe() {
    let (origin, address) = listen();
    let edge = Edge::before(address);
    let pairs: Vec<_> = (0..20).map(|_| edge.pair(&origin)).collect();
    let before = resident();
    for (client, _) in &pairs {
        client.set_nonblocking(true).unwrap();
    }
    let chunk = vec![7; 1 << 20];
    let mut still = 0;
    let mut last = 0;
    // Until nothing moves any more.
    while still < 50 {
        for (client, _) in &pairs {
            let mut writer: &TcpStream = client;
            let _ = writer.write(&chunk);
        }
        std::thread::park_timeout(Duration::from_millis(5));
        let read = edge.sum(|s| &s.client_bytes);
        still = if read == last { still + 1 } else { 0 };
        last = read;
    }
    let grown = resident().saturating_sub(before);
    assert!(last > 20 << 20, "the kernel's buffers alone hold more than {last}");
    // 256 KiB each, and what the test itself and the allocator take.
    assert!(grown < (20 * 256 + 4096) << 10, "{grown} bytes for 20 connections");
}

#[test]
fn a_connection_costs_less_than_two_kibibytes_of_ours() {
    fn future_of<F>(_: impl FnOnce(Rc<Worker>, tokio::net::TcpStream, ClientAddr, Place) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = future_of(serve) + size_of::<Connection>();
    assert!(bytes <= 2048, "{bytes}");
}

fn shed(edge: &Edge) -> (u64, u64) {
    let workers = || (0..2).filter_map(|i| edge.telemetry.metrics.worker(i));
    (workers().map(|w| w.shed_full.value()).sum(), workers().map(|w| w.shed_exhausted.value()).sum())
}

fn lowest_free_descriptor() -> u64 {
    use std::os::fd::AsRawFd as _;
    std::fs::File::open("/dev/null").unwrap().as_raw_fd().try_into().unwrap()
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.try_into().unwrap())
}

fn resident() -> usize {
    let pages: usize = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
