//! `spectrum events -f`: real connections, a real flood, and packets that tcpdump reads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT, EDGE, SHUNNED,
        config::Config,
        edge::{Edge, binary},
        server::Server,
        trafgen::{self, Flood},
    },
};

const EVENTS: &str = "[events]\nfile = \"/mnt/events.jsonl\"\n";

/// One application that blocks a scanner.
fn node(origin: &Server) -> Config {
    config().app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.66")
}

/// `spectrum ARGUMENTS` that goes on, with its lines.
struct Follower {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Follower {
    fn start(edge: &Edge, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).stdout(Stdio::piped());
        let mut child = edge.namespace().start(command);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(wait::DEADLINE).expect("another line in time")
    }

    /// The next event that is wanted. Without pauses: a flood's lines come faster than one after each.
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + wait::DEADLINE;
        while Instant::now() < deadline {
            let event = serde_json::from_str(&self.line()).expect("each line is JSON");
            if wanted(&event) {
                return event;
            }
        }
        panic!("{what}: not among what was told in {:?}", wait::DEADLINE);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Knocks until the follower has the drop: it sees what comes after it has begun.
fn first_drop(world: &World, follower: &Follower) -> String {
    let knock = || {
        world.client().knock_from(SHUNNED, spectrum_tests::world::edge::at(EDGE, 443));
        follower.lines.try_recv().ok()
    };
    wait::eventually("a drop is told", knock)
}

#[test]
fn connections_and_drops_are_told_as_they_happen_with_reason_and_rule() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(node(&origin));
    let follower = Follower::start(world.edge(), &["events", "-f", "--output", "json"]);
    let drop: Value = serde_json::from_str(&first_drop(&world, &follower)).unwrap();
    assert_eq!((&drop["Event"], &drop["ClientIP"]), (&"drop".into(), &SHUNNED.to_string().into()));
    let extensions = &drop["extensions"];
    assert_eq!((&extensions["reason"], &extensions["hostname"]), (&"blocked".into(), &"app1.example.com".into()));
    assert_eq!((&extensions["rule"]["target"], &extensions["rule"]["mode"]), (&"192.0.2.66".into(), &"block".into()));
    assert_eq!((&extensions["edge_port"], &extensions["tcp_flags"]), (&443.into(), &"SYN".into()));
    assert!(extensions["packet"].is_null(), "bytes only where they are asked for");

    assert_eq!(world.client().ask(edge.at(443), b"hello"), b"hello");
    let kinds = ["connect", "disconnect"].map(|kind| follower.until(kind, |event| event["Event"] == kind));
    assert!(kinds.iter().all(|event| event["ClientIP"] == CLIENT.to_string()));
}

#[test]
fn filters_let_through_what_is_asked_for_and_count_ends_it() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(node(&origin));
    let arguments = ["events", "-f", "--reason", "blocked", "--source", "192.0.2.64/28", "--count", "1"];
    let mut follower = Follower::start(world.edge(), &arguments);
    assert_eq!(world.client().ask(edge.at(443), b"hello"), b"hello");
    let row = first_drop(&world, &follower);
    assert!(row.contains("drop ") && row.contains("192.0.2.66:") && row.contains("(SYN): block 192.0.2.66"), "{row}");
    let ended = wait::within(wait::DEADLINE, || follower.child.try_wait().unwrap());
    assert!(ended.unwrap().success());
    assert!(follower.lines.recv().is_err(), "one line and no more");

    let refused = world.edge().spectrum(&["events", "-f", "--source", "somewhere"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn sampled_packets_are_written_as_tcpdump_reads_them() {
    let world = World::new();
    let origin = world.origin().echo();
    let _edge = world.edge().run(node(&origin));
    let follower = Follower::start(world.edge(), &["events", "-f", "--pcap", "/mnt/drops.pcapng"]);
    first_drop(&world, &follower);
    let read = world.edge().stdout("tcpdump", &["-nn", "-e", "-r", "/mnt/drops.pcapng"]);
    let packet = read.lines().next().unwrap();
    for part in ["ethertype IPv4", "192.0.2.66.", "> 198.51.100.10.443: Flags [S]"] {
        assert!(packet.contains(part), "{part}: {read}");
    }
    let file = world.edge().namespace().run(|| std::fs::read("/mnt/drops.pcapng").unwrap());
    assert!(String::from_utf8_lossy(&file).contains("blocked (SYN): block 192.0.2.66 of scope user"), "the comment");

    // The real length of what is longer than what is kept.
    drop(follower);
    let follower = Follower::start(world.edge(), &["events", "-f", "--passed", "--pcap", "/mnt/all.pcapng"]);
    wait::eventually("a large packet is sampled", || {
        let question = [7; 1000];
        assert_eq!(world.client().ask(spectrum_tests::world::edge::at(EDGE, 443), &question), question);
        // There may be no file yet, or half a packet at its end.
        let mut tcpdump = Command::new("tcpdump");
        tcpdump.args(["-nn", "-e", "-r", "/mnt/all.pcapng"]);
        let read = String::from_utf8(world.edge().namespace().output(tcpdump).stdout).unwrap();
        read.lines().any(|line| line.contains("length 1066:") && line.ends_with("length 1000")).then_some(())
    });
    drop(follower);

    let piped = "timeout 20 \"$0\" events -f --pcap - --count 1 | tcpdump -nn -r - 2>&1";
    let mut shell = Command::new("sh");
    shell.args(["-c", piped]).arg(binary()).stdout(Stdio::piped());
    let mut child = world.edge().namespace().start(shell);
    wait::eventually("a packet came through the pipe", || {
        world.client().knock_from(SHUNNED, spectrum_tests::world::edge::at(EDGE, 443));
        child.try_wait().unwrap()
    });
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("192.0.2.66."), "{text}");
}

#[test]
fn a_flood_is_told_as_events_of_the_node_and_its_drops_say_what_they_stand_for() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(&origin).raw(EVENTS));
    let follower = Follower::start(world.edge(), &["events", "-f", "--output", "json"]);
    first_drop(&world, &follower);
    let flood = Flood::of(&world, &trafgen::segments_to(443, "syn, win=4321"), 12_000);
    let next = |kind: &str| follower.until(kind, |event| event["Event"] == kind);
    let began = next("floodBegan");
    let portrait = &began["extensions"]["portrait"][0];
    assert_eq!((&portrait["protocol"], &portrait["tcp_flags"]), (&6.into(), &"SYN".into()), "{began}");
    let common = portrait["common"].as_array().unwrap();
    let window = serde_json::json!({ "field": "tcp_window", "value": 4321, "percent": 100 });
    assert!(common.contains(&window), "{began}");
    assert!(portrait["percent"].as_u64() > Some(90), "{began}");
    next("protectionBegan");
    let status = world.edge().spectrum_ok(&["status"]);
    assert!(status.contains("the SYNs to app1.example.com tcp/443: ") && status.contains("window 4321"), "{status}");
    let blocked = Flood::of(&world, &trafgen::syns_from(SHUNNED, 443), 12_000);
    let stands_for = |event: &Value| event["extensions"]["drops"].as_u64().unwrap_or_default();
    follower.until("one drop stands for many", |event| stands_for(event) > 10);
    drop((blocked, flood));
    // What floods an application ends with it.
    edge.reload(config().app("tcp/444").origin(origin.addr()).raw(EVENTS));
    let ended = next("floodEnded");
    assert!(ended["extensions"]["portrait"][0]["common"].as_array().unwrap().contains(&window), "{ended}");
    assert!(ended["extensions"]["seconds"].is_u64(), "{ended}");
    assert!(edge.terminate().success());
    let file = world.edge().namespace().run(|| std::fs::read_to_string("/mnt/events.jsonl").unwrap());
    let told: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for kind in ["floodBegan", "floodEnded", "protectionBegan", "protectionEnded"] {
        assert_eq!(told.iter().filter(|event| event["Event"] == kind).count(), 1, "{kind}");
    }
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(node(&origin));
    let socket = "/run/spectrum/default.sock";
    let mut slow = world.edge().namespace().run(move || UnixStream::connect(socket).unwrap());
    slow.write_all(b"GET /events?passed=true&packets=true HTTP/1.1\r\nhost: spectrum\r\n\r\n").unwrap();
    let before = edge.memory_kib("Anonymous");
    // Two lines each and a sample of some, each some hundred bytes: far more than a socket and 1024 lines hold.
    for _ in 0..40 {
        let clients = world.client().connect_many(edge.at(443), 100);
        drop(clients);
    }
    assert_eq!(world.client().ask(edge.at(443), b"still here"), b"still here");
    assert!(edge.memory_kib("Anonymous") < before + 32 * 1024, "what waits for it is bounded");
    slow.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    let lines = BufReader::new(slow).lines().map_while(Result::ok);
    let missed = lines.filter(|line| line.contains("\"missed\"")).find_map(|line| {
        let event: Value = serde_json::from_str(&line).ok()?;
        event["extensions"]["events"].as_u64().filter(|count| *count > 0)
    });
    assert!(missed.is_some(), "it is told how many");
}

#[test]
fn without_a_daemon_the_ring_itself_is_read_and_a_daemon_that_starts_takes_over() {
    let world = World::new();
    let origin = world.origin().echo();
    assert!(world.edge().spectrum_with("load", node(&origin)).status.success());
    let follower = Follower::start(world.edge(), &["events", "-f", "--output", "json"]);
    let drop: Value = serde_json::from_str(&first_drop(&world, &follower)).unwrap();
    assert_eq!((&drop["Event"], &drop["extensions"]["reason"]), (&"drop".into(), &"blocked".into()));
    assert!(drop["extensions"]["rule"]["id"].is_string(), "{drop}");

    let edge = world.edge().run(node(&origin));
    wait::eventually("the daemon's events are told", || {
        assert_eq!(world.client().ask(edge.at(443), b"hello"), b"hello");
        std::iter::from_fn(|| follower.lines.try_recv().ok()).any(|line| line.contains("\"connect\"")).then_some(())
    });
}

#[test]
fn where_nothing_is_loaded_there_is_nothing_to_follow() {
    let world = World::new();
    let output = world.edge().spectrum(&["events", "-f"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not loaded"));
}
