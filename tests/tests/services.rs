//! Real programs through the edge, and more bytes and connections than fit into any buffer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::io::{Read as _, Write as _};

use spectrum_tests::{World, config, stream::Stream, world::client::Client};

#[test]
fn an_ssh_session_runs_a_command_and_carries_its_input() {
    let world = World::new();
    let sshd = world.origin().sshd();
    let edge = world.edge().run(config().app("tcp/22").origin(sshd.addr()));
    let output = ssh(world.client(), sshd.identity(), &edge.at(22).ip().to_string(), "echo out; echo err >&2; exit 7");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("err\n"));
    assert_eq!(output.status.code(), Some(7));
    let output = ssh(world.client(), sshd.identity(), &edge.at(22).ip().to_string(), "head -c 5000000 /dev/zero");
    assert_eq!(output.stdout.len(), 5_000_000);
}

fn ssh(client: &Client, identity: &str, host: &str, command: &str) -> std::process::Output {
    let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=20"];
    let mut arguments = vec!["-F", "none", "-i", identity, "-l", "root"];
    arguments.extend(options.iter().flat_map(|option| ["-o", option]));
    arguments.extend([host, command]);
    client.output("ssh", &arguments)
}

#[test]
fn redis_keeps_what_is_told_and_stands_its_own_benchmark() {
    let world = World::new();
    let redis = world.origin().redis();
    let edge = world.edge().run(config().app("tcp/6379").origin(redis.addr()));
    let host = edge.at(6379).ip().to_string();
    let cli = |arguments: &[&str]| world.client().stdout("redis-cli", &[&["-h", &host], arguments].concat());
    assert_eq!(cli(&["set", "key", "value"]), "OK\n");
    assert_eq!(cli(&["get", "key"]), "value\n");
    let benchmark = ["-h", &host, "-n", "10000", "-c", "50", "-q", "-t", "set,get"];
    let text = world.client().stdout("redis-benchmark", &benchmark);
    assert!(text.contains("SET:") && text.contains("GET:"), "{text}");
    println!("{text}");
}

#[test]
fn nginx_serves_its_page() {
    let world = World::new();
    let nginx = world.origin().nginx();
    let edge = world.edge().run(config().app("tcp/80").origin(nginx.addr()));
    assert_eq!(world.client().curl(&format!("http://{}/hello", edge.at(80))), "hello from nginx\n");
}

#[test]
fn iperf3_measures_both_directions() {
    let world = World::new();
    let iperf3 = world.origin().iperf3();
    let edge = world.edge().run(config().app("tcp/5201").origin(iperf3.addr()));
    let host = edge.at(5201).ip().to_string();
    for direction in [&[][..], &["--reverse"]] {
        let arguments = [&["--client", &host, "--time", "1", "--parallel", "2", "--json"], direction].concat();
        let report: serde_json::Value = serde_json::from_str(&world.client().stdout("iperf3", &arguments)).unwrap();
        let bits = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
        println!("iperf3 {direction:?}: {:.2} Gbit/s", bits / 1e9);
        assert!(bits > 1e6, "{bits} bit/s");
    }
}

const GIB: usize = 1 << 30;

#[test]
fn a_gibibyte_both_ways_at_once_arrives_byte_for_byte() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    let edge = world.edge().run(config().app("tcp/443").origin(origin));
    let client = world.client().connect(edge.at(443)).unwrap();
    let (origin, _) = listener.accept().unwrap();
    Stream::both_ways(GIB, client, origin);
}

#[test]
fn five_thousand_connections_are_open_at_once() {
    const COUNT: usize = 5_000;
    raise_descriptor_limit();
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()));
    // Warm: what the process needs for any traffic at all is not the connections'.
    world.client().ask(edge.at(443), b"warm");
    let before = edge.memory_kib("Rss");
    let mut connections = world.client().connect_many(edge.at(443), COUNT);
    for connection in &mut connections {
        connection.write_all(b"?").unwrap();
    }
    for connection in &mut connections {
        let mut answer = [0];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"?");
    }
    assert_eq!(origin.accepted(), COUNT + 1);
    let bytes = (edge.memory_kib("Rss").saturating_sub(before)) * 1024 / COUNT as u64;
    println!("{bytes} bytes of the process for each idle proxied connection");
    assert!(bytes < 16 * 1024, "an idle connection holds {bytes} bytes: it must not hold a relay buffer");
    // All of them still work, the first and the last alike.
    for index in [0, COUNT / 2, COUNT - 1] {
        connections[index].write_all(b"!").unwrap();
        let mut answer = [0];
        connections[index].read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"!");
    }
}

/// Both ends of all connections are in this process.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}
