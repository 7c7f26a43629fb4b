//! SYN cookies from XDP and floods of SYNs: real clients, a real generator, and the kernel's own counters.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use spectrum_tests::{
    World, config,
    stream::Stream,
    wait,
    world::{
        EDGE, EDGE_V6,
        trafgen::{self, Flood},
    },
};

const MEBIBYTE: usize = 1 << 20;

/// Far over what the daemon takes for a flood.
const PER_SECOND: u64 = 12_000;

/// `net.ipv4.tcp_syncookies` at the edge.
fn syncookies(world: &World) -> String {
    world.edge().stdout("sysctl", &["-n", "net.ipv4.tcp_syncookies"]).trim().to_owned()
}

/// `net.ipv4.tcp_timestamps` at the edge.
fn timestamps(world: &World) -> String {
    world.edge().stdout("sysctl", &["-n", "net.ipv4.tcp_timestamps"]).trim().to_owned()
}

/// What the two ends of a connection have agreed on, the client's and the edge's: `ts sack wscale:7,7`, the scale of the
/// other's window and of one's own.
fn agreed(world: &World, client: &TcpStream) -> [Vec<String>; 2] {
    let of = |text: &str| {
        let words = |line: &str| {
            let known = |word: &&str| matches!(*word, "ts" | "sack") || word.starts_with("wscale:");
            line.split_whitespace().filter(known).map(str::to_owned).collect::<Vec<_>>()
        };
        text.lines().filter(|line| line.starts_with('\t')).flat_map(words).collect()
    };
    let port = format!(":{}", client.local_addr().unwrap().port());
    let client = world.client().stdout("ss", &["-tinoH", "sport", "=", &port, "and", "dport", "=", ":443"]);
    let edge = world.edge().stdout("ss", &["-tinoH", "dport", "=", &port, "and", "sport", "=", ":443"]);
    [of(&client), of(&edge)]
}

/// Counters of the edge's kernel at one moment (`/proc/net/netstat`, section `TcpExt`).
fn kernel_counters<const COUNT: usize>(world: &World, wanted: [&str; COUNT]) -> [u64; COUNT] {
    let text = world.edge().namespace().run(|| fs::read_to_string("/proc/thread-self/net/netstat").unwrap());
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let index = |name| names.split(' ').position(|known| known == name).unwrap();
    wanted.map(|name| values.split(' ').nth(index(name)).unwrap().parse().unwrap())
}

fn kernel_counter(world: &World, name: &str) -> u64 {
    kernel_counters(world, [name])[0]
}

#[test]
fn a_connection_that_began_with_a_cookie_carries_bytes_like_any_other() {
    let world = World::new();
    world.client().take_answers();
    let before = world.edge().traces();
    let (listener, origin) = world.origin().listen();
    let app = config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin).extension("syn_cookies", "\"always\"");
    let mut edge = world.edge().run(app);
    wait::eventually("the protected mode is on", || edge.is_protected().then_some(()));
    assert_eq!(syncookies(&world), "2");
    assert_eq!(timestamps(&world), "2");
    for to in [edge.at(443), edge.at_v6(443)] {
        let client = world.client().connect(to).unwrap();
        let (origin, _) = listener.accept().unwrap();
        let [client_says, edge_says] = agreed(&world, &client);
        assert_eq!(client_says[..2], ["ts", "sack"], "{client_says:?}");
        let scales = client_says[2].strip_prefix("wscale:").unwrap().split_once(',').unwrap();
        assert_eq!(
            edge_says,
            ["ts", "sack", &format!("wscale:{},{}", scales.1, scales.0)],
            "both mean the same scales"
        );
        assert_ne!(scales.0, "0", "and there is one");
        Stream::both_ways(100 * MEBIBYTE, client, origin);
    }
    assert_eq!(edge.counter("syn_cookie"), 2);
    let [taken, given] = kernel_counters(&world, ["SyncookiesRecv", "SyncookiesSent"]);
    assert_eq!(taken - given, 2, "the kernel takes what acknowledges XDP's cookies; its own are this host's to itself");
    assert_eq!(kernel_counter(&world, "SyncookiesFailed"), 0);
    assert!(edge.terminate().success());
    assert_eq!(syncookies(&world), "1");
    assert_eq!(timestamps(&world), "1");
    before.assert_unchanged(world.edge());
}

#[test]
fn where_the_node_keeps_its_timestamps_a_cookie_remembers_nothing() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let app = config().app("tcp/443").origin(origin.addr()).extension("syn_cookies", "\"always\"");
    let mut edge = world.edge().run(app.clone().raw("[shield]\ntimestamps = false\n"));
    wait::eventually("the protected mode is on", || edge.is_protected().then_some(()));
    let mut client = world.client().connect(edge.at(443)).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert_eq!(timestamps(&world), "1");
    let nothing: [Vec<String>; 2] = Default::default();
    assert_eq!(agreed(&world, &client), nothing);
    drop(client);

    edge.reload(app);
    wait::eventually("answers offer timestamps", || (timestamps(&world) == "2").then_some(()));
    wait::eventually("a connection has them", || {
        let client = world.client().connect(edge.at(443)).unwrap();
        agreed(&world, &client)[0].contains(&"ts".to_owned()).then_some(())
    });
    // Whoever changes the sysctl meanwhile is heard: answers would be read wrong.
    world.edge().stdout("sysctl", &["-w", "net.ipv4.tcp_timestamps=1"]);
    wait::eventually("answers offer none", || {
        let client = world.client().connect(edge.at(443)).unwrap();
        (!agreed(&world, &client)[0].contains(&"ts".to_owned())).then_some(())
    });
    assert!(edge.terminate().success());
    assert_eq!(timestamps(&world), "1");
}

#[test]
fn an_application_that_wants_no_cookies_is_left_to_the_kernel() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()).extension("syn_cookies", "\"never\""));
    world.edge().stdout("sysctl", &["-w", "net.ipv4.tcp_syncookies=2"]);
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    assert_eq!(edge.counter("syn_cookie"), 0);
    assert_eq!(kernel_counter(&world, "SyncookiesSent"), 1);
}

#[test]
fn a_flood_is_seen_and_answered_and_clients_get_through() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(config().app("tcp/443").origin(origin.addr()));
    let mut open = world.client().connect(edge.at(443)).unwrap();
    assert!(!edge.is_protected());
    assert_eq!(syncookies(&world), "1");

    let flood = Flood::of(&world, &trafgen::syns_to(443), PER_SECOND);
    wait::eventually("the flood is seen", || edge.is_protected().then_some(()));
    let status = edge.status();
    assert_eq!(status["daemon"]["protection"]["floods"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(syncookies(&world), "2");
    let answered = edge.counter("syn_cookie");
    for _ in 0..50 {
        assert_eq!(world.client().ask(edge.at(443), b"in the flood"), b"in the flood");
    }
    assert!(edge.counter("syn_cookie") > answered + 50, "the flood goes on, and is answered");
    assert!(kernel_counter(&world, "SyncookiesRecv") >= 50);
    world.client().output("hping3", &["--ack", "--destport", "443", "--count", "5", "--fast", &EDGE.to_string()]);
    assert!(edge.counter("orphan") >= 5, "segments of no connection are dropped meanwhile");
    open.write_all(b"x").unwrap();
    open.read_exact(&mut [0]).unwrap();
    drop((open, flood));
    assert!(edge.terminate().success());
    assert_eq!(syncookies(&world), "1", "the end of the daemon is the end of the protected mode");
    assert!(edge.process().printed().contains("SYN flood"), "it says so");
}

#[test]
fn what_a_killed_daemon_left_switched_is_put_back() {
    let world = World::new();
    let origin = world.origin().echo();
    let always = config().app("tcp/443").origin(origin.addr()).extension("syn_cookies", "\"always\"");
    let auto = config().app("tcp/443").origin(origin.addr());
    let before = world.edge().traces();
    let mut edge = world.edge().run(&always);
    wait::eventually("the protected mode is on", || edge.is_protected().then_some(()));
    edge.kill();
    assert_eq!([syncookies(&world), timestamps(&world)], ["2", "2"], "the protection goes on");
    let mut edge = world.edge().run(&auto);
    assert_eq!([syncookies(&world), timestamps(&world)], ["1", "1"], "the next start puts it back");
    edge.reload(&always);
    wait::eventually("the protected mode is on", || edge.is_protected().then_some(()));
    edge.reload(&auto);
    wait::eventually("the protected mode is off", || (!edge.is_protected()).then_some(()));
    assert_eq!(syncookies(&world), "1", "so does a reload");
    edge.reload(&always);
    wait::eventually("the protected mode is on", || edge.is_protected().then_some(()));
    edge.kill();
    world.edge().spectrum_ok(&["unload"]);
    assert_eq!([syncookies(&world), timestamps(&world)], ["1", "1"], "and so does unload");
    before.assert_unchanged(world.edge());
}

#[test]
fn where_the_sysctl_cannot_be_changed_it_serves_and_says_so() {
    let world = World::new();
    let origin = world.origin().echo();
    let always = config().app("tcp/443").origin(origin.addr()).extension("syn_cookies", "\"always\"");
    let config = world.edge().write_config(&always);
    let mut edge = world.edge().start_command(|spectrum| {
        let mut command = Command::new("unshare");
        let script = "mount --bind -o ro /proc/sys /proc/sys && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(spectrum).args(["run", "--config"]).arg(&config);
        command
    });
    edge.await_ready();
    wait::eventually("it says so", || {
        edge.process().printed().contains("tcp_syncookies cannot be changed").then_some(())
    });
    assert!(!edge.is_protected());
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
}

/// A flood of what belongs to no connection.
#[test]
fn a_flood_of_acknowledgements_of_no_connection_is_seen_and_dropped_by_itself() {
    is_seen_and_dropped("ack", "ACK");
}

/// Which no answer of the kernel's would tell of.
#[test]
fn a_flood_of_resets_of_no_connection_is_seen_and_dropped_by_itself() {
    is_seen_and_dropped("rst", "RST");
}

fn is_seen_and_dropped(segment: &str, flags: &str) {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(config().app("tcp/443").origin(origin.addr()));
    let mut open = world.client().connect(edge.at(443)).unwrap();
    let few = format!("--{segment} --destport 443 --count 50 --interval u2000 {EDGE}");
    world.client().output("hping3", &few.split(' ').collect::<Vec<_>>());
    assert_eq!(edge.counter("orphan"), 0, "few of them have their answer");

    let flood = Flood::of(&world, &trafgen::segments_to(443, segment), PER_SECOND);
    wait::eventually("the flood is dropped", || (edge.counter("orphan") > 1000).then_some(()));
    let status = edge.status();
    let told = &status["daemon"]["floods"][0];
    assert_eq!((&told["kind"], &told["portrait"][0]["tcp_flags"]), (&"orphans".into(), &flags.into()), "{status}");
    assert!(!edge.is_protected(), "nobody asks for a connection: cookies are not the answer");
    assert_eq!(syncookies(&world), "1");
    for _ in 0..50 {
        open.write_all(b"in the flood").unwrap();
        let mut answer = [0; 12];
        open.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"in the flood");
    }
    assert_eq!(world.client().ask(edge.at(443), b"new"), b"new");
    let dropped = edge.counter("orphan");
    wait::eventually("the flood goes on", || (edge.counter("orphan") > dropped).then_some(()));
    drop((open, flood));
    assert!(edge.terminate().success());
    assert!(edge.process().printed().contains("flood of segments of no connection"), "it says so");
}

/// Floods that are made for this program: every one has an open connection beside it, and a new one after it.
#[test]
fn floods_against_the_filter_itself_cost_neither_memory_nor_connections() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let rates = config().app("tcp/443").origin(origin.addr()).extension("rate_per_source", "\"1000/s\"");
    let mut edge = world.edge().run(rates);
    let mut open = world.client().connect(edge.at(443)).unwrap();
    let before = edge.memory_kib("Rss");
    let target = EDGE.to_string();
    for (what, arguments) in [
        ("unique sources", "--syn --destport 443 --rand-source"),
        ("one source, all its ports", "--syn --destport 443"),
        ("all ports", "--syn --destport ++1 --rand-source"),
        ("fragments of datagrams", "--udp --frag --data 1400 --destport 443 --rand-source"),
        ("fragments of segments", "--syn --frag --mtu 16 --destport 443 --rand-source"),
        ("options", "--syn --rroute --tcp-timestamp --destport 443 --rand-source"),
        ("every flag", "--syn --ack --fin --rst --push --urg --xmas --ymas --destport 443 --rand-source"),
    ] {
        let judged = || -> u64 {
            let reasons =
                ["syn_cookie", "source_rate", "steered", "closed_port", "fragment", "illegal_flags", "later_fragment"];
            reasons.iter().map(|reason| edge.counter(reason)).sum()
        };
        let begun = judged();
        let mut flood = Command::new("hping3");
        flood.args(["--flood", "--quiet"]).args(arguments.split(' ')).arg(&target);
        let mut flood = world.client().namespace().start(flood);
        wait::eventually(what, || (judged() > begun + 20_000).then_some(()));
        for _ in 0..10 {
            open.write_all(b"still here").unwrap();
            let mut answer = [0; 10];
            open.read_exact(&mut answer).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        flood.kill().unwrap();
        flood.wait().unwrap();
    }
    assert_eq!(world.client().ask(edge.at(443), b"afterwards"), b"afterwards");
    let grown = edge.memory_kib("Rss").saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    drop(open);
    assert!(edge.terminate().success());
}
