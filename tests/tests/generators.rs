//! Floods by a generator that knows both families (trafgen), in front of real services: what is sent is seen, what is
//! seen has a reason, and who really wants something gets it.
//!
//! xdp-trafficgen is deliberately not here: it sends datagrams or one TCP stream, never SYNs alone, and Debian's (1.3.1)
//! wants a tracepoint (`xdp_redirect_map_err`) that newer kernels do not have.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config, wait,
    world::{
        EDGE, EDGE_V6,
        config::Config,
        trafgen::{self, Flood},
    },
};

/// Far over what the daemon takes for a flood, and little for two cores that run other tests too.
const PER_SECOND: u64 = 12_000;
/// How long one lasts: it is seen within two seconds.
const LASTING: Duration = Duration::from_secs(6);

/// How many packets the XDP program has judged, by reason.
fn judged(world: &World) -> Vec<(String, u64)> {
    let counters = world.edge().status()["kernel"]["counters"].clone();
    let count = |count: &serde_json::Value| {
        let reason = count["reason"].as_str().unwrap().to_owned();
        (reason, count["packets"].as_u64().unwrap())
    };
    // The steering program counts beside the XDP program.
    counters.as_array().unwrap().iter().map(count).filter(|(reason, _)| reason != "no_listener").collect()
}

fn total(counts: &[(String, u64)]) -> u64 {
    counts.iter().map(|(_, packets)| packets).sum()
}

fn of(counts: &[(String, u64)], reasons: &[&str]) -> u64 {
    counts.iter().filter(|(reason, _)| reasons.contains(&reason.as_str())).map(|(_, packets)| packets).sum()
}

/// What the driver has given to the XDP program (`veth_get_stats64`, drivers/net/veth.c).
fn received(world: &World) -> u64 {
    let packets = || fs::read_to_string("/sys/class/net/eth0/statistics/rx_packets").unwrap();
    world.edge().namespace().run(packets).trim().parse().unwrap()
}

/// Both at a moment when no packet is between the two: what an exchange leaves behind (ARP, its last segments) has come.
fn at_rest(world: &World) -> (u64, Vec<(String, u64)>) {
    let at_rest = || {
        let before = received(world);
        wait::pause(Duration::from_millis(100));
        let judged = judged(world);
        (received(world) == before).then_some((before, judged))
    };
    wait::eventually("nothing comes in", at_rest)
}

/// Every packet that came in meanwhile has one reason: what was received and what was counted grow by the same.
fn assert_adds_up(world: &World, before: (u64, &[(String, u64)])) {
    let grown = wait::within(wait::DEADLINE, || {
        let (received, judged) = (received(world) - before.0, total(&judged(world)) - total(before.1));
        (received == judged).then_some(())
    });
    assert!(grown.is_some(), "received {}, judged {:?}, before {before:?}", received(world), judged(world));
}

fn echoes(connection: &mut TcpStream) {
    connection.write_all(b"in the flood").unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"in the flood");
}

/// A flood of SYNs to `port` is answered; meanwhile `real` is done again and again.
fn stands(world: &World, node: Config, syn: &str, mut real: impl FnMut()) {
    world.client().take_answers();
    let edge = world.edge().run(node);
    real();
    let before = at_rest(world);
    let (flood, begun) = (Flood::of(world, syn, PER_SECOND), Instant::now());
    wait::eventually("the flood is seen", || edge.is_protected().then_some(()));
    assert_eq!(edge.status()["daemon"]["floods"][0]["kind"], "syn");
    let answered = edge.counter("syn_cookie");
    let mut served = 0;
    while served < 5 || begun.elapsed() < LASTING {
        real();
        served += 1;
    }
    let sent = flood.end();
    assert_adds_up(world, (before.0, &before.1));
    let (after, received) = (judged(world), received(world) - before.0);
    // What comes faster than it is taken in is lost in the driver's ring, and shows nowhere.
    assert!(received > sent / 2, "{sent} sent, {received} received");
    assert!(of(&after, &["syn_cookie"]) > answered, "it went on meanwhile");
    let grown = |reasons: &[&str]| of(&after, reasons) - of(&before.1, reasons);
    // Sources of no network (multicast, loopback) are among random ones: they are answered or not, but they are counted.
    assert!(grown(&["syn_cookie"]) > received / 4, "{received} received: {after:?}");
    let shown = grown(&["syn_cookie", "steered", "orphan", "land", "illegal_flags", "port_zero", "open_connection"]);
    assert!(shown + 500 > received, "{received} received, {shown} of them have a reason of TCP: {after:?}");
}

#[test]
fn ssh_works_while_syns_of_forged_ipv4_sources_come() {
    let world = World::new();
    let sshd = world.origin().sshd();
    let syn = trafgen::syns_to(22);
    let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=20"];
    stands(&world, config().app("tcp/22").origin(sshd.addr()), &syn, || {
        let mut arguments = vec!["-F", "none", "-i", sshd.identity(), "-l", "root"];
        arguments.extend(options.iter().flat_map(|option| ["-o", option]));
        let host = EDGE.to_string();
        arguments.extend([&host, "echo here"]);
        let output = world.client().output("ssh", &arguments);
        assert_eq!(output.stdout, b"here\n", "{}", String::from_utf8_lossy(&output.stderr));
    });
}

#[test]
fn redis_works_while_syns_of_forged_ipv6_sources_come() {
    let world = World::new();
    let redis = world.origin().redis();
    let syn =
        format!("ipv6(hl=64, sa=drnd(), da={EDGE_V6}), tcp(sport=drnd(), dport=6379, seq=drnd(), syn, win=64240)");
    let mut turn = 0;
    stands(&world, config().app("tcp/6379").on(&[EDGE_V6]).origin(redis.addr()), &syn, || {
        let cli = |arguments: &[&str]| {
            world.client().stdout("redis-cli", &[&["-h", &EDGE_V6.to_string()], arguments].concat())
        };
        turn += 1;
        assert_eq!(cli(&["set", "turn", &turn.to_string()]), "OK\n");
        assert_eq!(cli(&["get", "turn"]), format!("{turn}\n"));
    });
}

/// Half of the looks at it see nothing.
#[test]
fn a_flood_in_pulses_is_seen() {
    const PULSE: u64 = 6_000;
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()));
    let syn = trafgen::syns_to(443);
    let seen_after = (1..=15).find(|_| {
        Flood::pulse(&world, &syn, PULSE);
        wait::pause(Duration::from_millis(800));
        edge.is_protected()
    });
    assert!(seen_after.is_some(), "fifteen pulses, and it is quiet");
}

/// What hping3 cannot send: segments of no connection and fragments over IPv6.
#[test]
fn an_open_ipv6_connection_goes_on_among_segments_of_no_connection_and_fragments() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin.addr()));
    let mut open = world.client().connect(edge.at_v6(443)).unwrap();
    let from = |next: &str| format!("ipv6(hl=64, {next}sa=drnd(), da={EDGE_V6})");
    let orphans = ["ack, ackseq=drnd()", "rst", "fin, ack", "syn, ack"]
        .map(|flags| format!("{}, tcp(sport=drnd(), dport=443, seq=drnd(), {flags})", from("")));
    // A fragment header: next header, reserved, offset and "more", identification; then what it carries.
    let fragments = [
        // The rest of a segment: there are no ports in it.
        format!("{}, 6, 0, c16(0x0599), drnd(4), fill(0x41, 64)", from("nh=44, ")),
        // The beginning of a datagram.
        format!(
            "{}, 17, 0, c16(0x0001), drnd(4), drnd(2), c16(443), c16(100), c16(0), fill(0x41, 64)",
            from("nh=44, ")
        ),
        // Half a TCP header.
        format!("{}, 6, 0, c16(0x0001), drnd(4), drnd(2), c16(443), drnd(4)", from("nh=44, ")),
    ];
    for (kinds, expected, what) in [
        (&orphans[..], &["orphan", "steered"][..], "orphans"),
        // The first fragment of a datagram has ports, and nobody has that one.
        (&fragments[..], &["fragment", "later_fragment", "closed_port"], "fragments"),
    ] {
        let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
        let before = at_rest(&world);
        let memory = edge.memory_kib("Rss");
        let (flood, begun) = (Flood::start(&world, &kinds, 1_000_000, PER_SECOND), Instant::now());
        let mut asked = 0;
        while asked < 50 || begun.elapsed() < LASTING {
            echoes(&mut open);
            asked += 1;
            wait::pause(Duration::from_millis(5));
        }
        let sent = flood.end();
        assert_adds_up(&world, (before.0, &before.1));
        let (after, received) = (judged(&world), received(&world) - before.0);
        assert!(received > sent / 2, "{sent} {what} sent, {received} received");
        let grown = |reasons: &[&str]| of(&after, reasons) - of(&before.1, reasons);
        // What the open connection sends itself: a question, and acknowledgements of the answer.
        let own = if expected.contains(&"steered") { 0 } else { grown(&["steered"]).min(3 * asked) };
        assert!(grown(expected) + own + 500 > received, "{received} {what} received: {after:?}");
        assert!(grown(&expected[..1]) > received / 4, "{what}: {after:?}");
        assert!(edge.memory_kib("Rss") < memory + 8192, "{what}");
    }
    assert!(!edge.is_protected(), "nobody asks for a connection");
    echoes(&mut open);
    assert_eq!(world.client().ask(edge.at_v6(443), b"new"), b"new");
}
