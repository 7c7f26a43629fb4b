//! Mixed traffic for a while: whatever clients, origins and names do, memory and descriptors stay level.
//!
//! Twenty seconds by default; `SPECTRUM_CHURN_SECONDS=1800` is what a release goes through.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics: that is its report")]

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;
use spectrum_tests::{
    World, config, wait,
    world::{EDGE, ORIGIN, ORIGIN_V6, config::Config, edge::Daemon},
};

/// The application that takes two connections of one client.
const LIMITED: u16 = 446;
const NAME: &str = "origin.example.net";

#[test]
fn mixed_churn_takes_no_memory_and_no_descriptors() {
    let seconds = env::var("SPECTRUM_CHURN_SECONDS").ok().map_or(20, |text| text.parse().unwrap());
    let world = World::new();
    let dns = world.edge().dns();
    dns.say_addresses(NAME, &[ORIGIN], 1);
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr(), 0));
    // What any traffic at all takes is not what is asked for.
    for port in 443..=446 {
        drop(world.client().try_ask(None, SocketAddr::new(EDGE, port), b"warm"));
    }
    let idle = descriptors(&edge);
    let (over, served, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut samples = Vec::new();
    thread::scope(|scope| {
        for seed in 0..4_u64 {
            let (over, served, failed, client) = (&over, &served, &failed, world.client());
            scope.spawn(move || {
                let mut turn = seed * 7;
                while !over.load(Relaxed) {
                    turn += 1;
                    let edge = SocketAddr::new(EDGE, 443 + u16::try_from(turn % 4).unwrap());
                    let done = client.connect(edge).and_then(|stream| behave(turn / 4, stream));
                    assert!(done.is_ok() || edge.port() == LIMITED, "{edge}, {}: {done:?}", turn / 4 % 6);
                    if done.is_ok() { served } else { failed }.fetch_add(1, Relaxed);
                }
            });
        }
        let begin = Instant::now();
        let mut round = 0;
        while begin.elapsed() < Duration::from_secs(seconds) {
            round += 1;
            wait::pause(Duration::from_millis(500));
            let addresses: [&[IpAddr]; 3] = [&[ORIGIN], &[ORIGIN_V6, ORIGIN], &[ORIGIN_V6]];
            dns.say_addresses(NAME, addresses.iter().cycle().nth(round % 3).unwrap(), 1);
            if round % 8 == 0 {
                edge.reload(node(origin.addr(), round));
            }
            samples.push((edge.memory_kib("Rss"), descriptors(&edge)));
        }
        over.store(true, Relaxed);
    });
    let (served, failed) = (served.into_inner(), failed.into_inner());
    println!("{served} connections in good order, {failed} over the limit");
    assert!(served > seconds * 4, "{served} served, {failed} failed");
    let third = samples.len() / 3;
    let most =
        |part: &[(u64, usize)]| (part.iter().map(|s| s.0).max().unwrap(), part.iter().map(|s| s.1).max().unwrap());
    let (middle, last) = (most(samples.get(third..2 * third).unwrap()), most(samples.get(2 * third..).unwrap()));
    println!("KiB and descriptors at most: {middle:?} in the middle, {last:?} at the end");
    assert!(last.0 < middle.0 + middle.0 / 20 + 1024, "memory grows: {middle:?}, then {last:?} KiB");
    wait::eventually("descriptors are given back", || (descriptors(&edge) <= idle + 4).then_some(()));
    wait::eventually("no connection is left in any count", || {
        let status = edge.status();
        let apps = status["daemon"]["applications"].as_array().unwrap().clone();
        let open = |app: &serde_json::Value| {
            app["origins"].as_array().unwrap().iter().map(|origin| origin["open"].as_u64().unwrap()).sum::<u64>()
        };
        apps.iter().all(|app| app["connections_active"] == 0 && open(app) == 0).then_some(())
    });
}

/// Two origins of which one is dead; a name that moves; a header; a limit that is reached.
fn node(origin: SocketAddr, round: usize) -> Config {
    let named = format!("origin_dns = {{ name = \"{NAME}\" }}\norigin_port = {}", origin.port());
    config()
        .app("tcp/443")
        .origin(origin)
        .origin("203.0.113.2:9")
        .extension("balance", ["\"random\"", "\"least_connections\""].get(round / 8 % 2).unwrap())
        .app("tcp/444")
        .line(&named)
        .app("tcp/445")
        .origin(origin)
        .line("proxy_protocol = \"v2\"")
        .extension("health_check", "{ type = \"tcp\", interval = \"500ms\", timeout = \"200ms\" }")
        .app("tcp/446")
        .origin(origin)
        .extension("max_connections_per_ip", "2")
        .extension("idle_timeout", &format!("\"{}s\"", 1 + round % 3))
}

/// One of the ways in which clients treat a connection.
fn behave(way: u64, mut stream: TcpStream) -> std::io::Result<()> {
    match way % 6 {
        0 | 1 => {
            stream.write_all(b"question")?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            if answer.ends_with(b"question") { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
        }
        2 => {
            let sent = vec![7; 200_000];
            let mut writer = stream.try_clone()?;
            let writing =
                thread::spawn(move || writer.write_all(&sent).and_then(|()| writer.shutdown(Shutdown::Write)));
            let read = std::io::copy(&mut stream, &mut std::io::sink())?;
            drop(writing.join());
            if read >= 200_000 { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
        }
        3 => {
            stream.write_all(b"never read")?;
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))
        }
        4 => {
            thread::park_timeout(Duration::from_millis(200));
            Ok(())
        }
        // Gone before anything was said.
        _ => stream.shutdown(Shutdown::Both),
    }
}

fn descriptors(edge: &Daemon<'_>) -> usize {
    fs::read_dir(format!("/proc/{}/fd", edge.pid())).unwrap().count()
}
