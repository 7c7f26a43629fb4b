//! What goes wrong outside: a clear error that says what to do, and a host as it was before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config, wait,
    world::{
        NOBODY, ORIGIN, SHUNNED,
        client::Knock,
        config::Config,
        edge::{Daemon, at},
        namespace::DIRECTORY,
    },
};
use spectrum_user::dataplane::load::{Loaded, Options};

/// A node that would serve, were it not for the fault.
fn node() -> Config {
    config().app("tcp/443").origin(at(ORIGIN, 80))
}

/// `spectrum run` with this file must fail with all of these words on stderr and leave the host as it was.
fn refuses(world: &World, config: impl Into<String>, words: &[&str]) -> String {
    let before = world.edge().traces();
    let output = world.edge().spectrum_with("run", config);
    let stderr = explains(&output, words);
    before.assert_unchanged(world.edge());
    stderr
}

fn explains(output: &Output, words: &[&str]) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "stderr says {word:?}:\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn an_interface_that_does_not_exist() {
    let world = World::new();
    refuses(&world, node().node("interfaces", "[\"eth7\"]"), &["eth7", "eth0", "eth1"]);
}

#[test]
fn an_interface_that_has_somebody_elses_program() {
    let world = World::new();
    foreign_program(&world);
    let before = world.edge().traces();
    refuses(&world, node(), &["eth0", "XDP program", "xdp off"]);
    before.assert_unchanged(world.edge());
}

/// Puts an XDP program onto the interface that `spectrum` did not put there, though it has the same name.
fn foreign_program(world: &World) {
    let pin = "/sys/fs/bpf/foreign";
    world.edge().namespace().run(move || {
        let mut loaded = Loaded::load(Options::default()).unwrap();
        loaded.xdp().unwrap().pin(pin).unwrap();
    });
    world.edge().stdout("bpftool", &["net", "attach", "xdp", "pinned", pin, "dev", "eth0"]);
}

#[test]
fn native_mode_where_the_driver_has_none() {
    let world = World::new();
    let config = node().node("interfaces", "[\"lo\"]").node("xdp_mode", "\"native\"");
    refuses(&world, config, &["lo", "native", "generic"]);
}

#[test]
fn an_interface_without_ethernet_frames_is_refused() {
    let world = World::new();
    world.edge().stdout("ip", &["tuntap", "add", "dev", "tun0", "mode", "tun"]);
    let before = world.edge().traces();
    let config = node().node("interfaces", "[\"eth0\", \"tun0\"]").node("xdp_mode", "\"auto\"");
    refuses(&world, config, &["tun0", "no Ethernet header", "link type NONE", "leave it out"]);
    before.assert_unchanged(world.edge());
}

#[test]
fn auto_mode_where_the_driver_has_no_native_one_falls_back_and_says_so() {
    let world = World::new();
    let node = || node().node("interfaces", "[\"lo\"]").node("xdp_mode", "\"auto\"");
    let degraded = |edge: &Daemon<'_>| edge.status()["daemon"]["degraded"][0].as_str().unwrap().to_owned();
    let mut edge = world.edge().run(node());
    assert!(degraded(&edge).contains("generic XDP on lo: the driver takes no native program"), "{}", degraded(&edge));
    edge.kill();
    drop(edge);
    let edge = world.edge().run(node());
    assert!(degraded(&edge).contains("generic XDP on lo: it was attached so before"), "{}", degraded(&edge));
}

/// What `kill -9` leaves, but for the dead process's own files: the next start tidies those, whatever it thinks of pins.
fn leave_pins(world: &World) {
    world.edge().run(node()).kill();
    world.edge().stdout("rm", &["-r", "/run/spectrum"]);
}

#[test]
fn pins_of_another_layout_are_refused_and_left_alone() {
    let world = World::new();
    leave_pins(&world);
    // The first four bytes of META are the layout's version.
    let zeroes = ["0"; 12];
    let value = [&["99", "0", "0", "0"][..], &zeroes].concat();
    let meta = ["map", "update", "pinned", "/sys/fs/bpf/spectrum/default/META", "key", "0", "0", "0", "0", "value"];
    world.edge().stdout("bpftool", &[&meta[..], &value].concat());
    refuses(&world, node(), &["layout", "99", "/sys/fs/bpf/spectrum/default"]);
}

#[test]
fn a_foreign_map_in_the_place_of_a_pin_is_refused_and_left_alone() {
    let world = World::new();
    leave_pins(&world);
    let pin = "/sys/fs/bpf/spectrum/default/STEER";
    world.edge().stdout("rm", &[pin]);
    let arguments =
        ["map", "create", pin, "type", "array", "key", "4", "value", "4", "entries", "1", "name", "foreign"];
    world.edge().stdout("bpftool", &arguments);
    refuses(&world, node(), &[pin, "spectrum unload"]);
    world.edge().spectrum_ok(&["unload"]);
    world.edge().run(node());
}

#[test]
fn missing_privileges_are_named() {
    let world = World::new();
    let file = world.edge().write_config(node());
    let before = world.edge().traces();
    for (dropped, named) in [("cap_net_admin", "CAP_NET_ADMIN"), ("cap_bpf,cap_sys_admin", "CAP_BPF")] {
        let line = format!("{} run --config {}", spectrum_tests::world::edge::binary().display(), file.display());
        let mut command = Command::new("capsh");
        command.args([&format!("--drop={dropped}"), "--", "-c", &line]);
        explains(&world.edge().namespace().output(command), &[named]);
    }
    before.assert_unchanged(world.edge());
}

#[test]
fn no_privileges_at_all() {
    let world = World::new();
    let file = world.edge().write_config(node());
    // The binary may lie where only root goes. Another program writes the copy: a child that another test forks while
    // this one has it open for writing would keep it busy (ETXTBSY, execve(2)).
    let (binary, copy) = (spectrum_tests::world::edge::binary(), Path::new(DIRECTORY).join("spectrum"));
    world.edge().stdout("install", &["-m", "755", binary.to_str().unwrap(), copy.to_str().unwrap()]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
    command.arg(copy).args(["run", "--config"]).arg(file);
    explains(&world.edge().namespace().output(command), &["CAP_BPF", "CAP_NET_ADMIN"]);
}

#[test]
fn three_capabilities_are_all_that_it_needs() {
    let world = World::new();
    let origin = world.origin().echo();
    let before = world.edge().traces();
    let file = world.edge().write_config(config().app("tcp/443").origin(origin.addr()));
    let mut edge = world.edge().start_command(|spectrum| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all,+bpf,+perfmon,+net_admin", "--inh-caps=-all", "--no-new-privs"]);
        command.arg(spectrum).args(["run", "--config"]).arg(file);
        command
    });
    edge.await_ready();
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    assert!(edge.terminate().success());
    before.assert_unchanged(world.edge());
}

#[test]
fn an_interface_that_is_recreated_is_filtered_again() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.66"));
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    world.replug();
    wait::eventually("the new interface is filtered", || {
        world.edge().stdout("ip", &["link", "show", "dev", "eth0"]).contains("xdp").then_some(())
    });
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
}

#[test]
fn every_error_of_a_file_is_told_at_once_with_its_place() {
    let world = World::new();
    let text =
        "[node]\ninterfaces = [\"eth0\"]\nxdp_mode = \"fast\"\ncolour = 1\n\n[edge]\npools = [\"198.51.100.0/33\"]\n";
    let file = world.edge().write_config(text);
    let output = world.edge().spectrum(&["check", "--config", file.to_str().unwrap()]);
    let stderr = explains(&output, &["fast", "colour", "198.51.100.0/33"]);
    for line in ["3", "4", "7"] {
        assert!(stderr.contains(&format!("spectrum.toml:{line}:")), "names line {line}:\n{stderr}");
    }
    refuses(&world, text, &["fast", "colour", "198.51.100.0/33"]);
}

#[test]
fn overlapping_applications_and_unequal_ranges_are_refused() {
    let world = World::new();
    let overlap =
        config().app("tcp/1000-2000").origin(format!("{ORIGIN}:1000-2000")).app("tcp/1500").origin(at(ORIGIN, 1));
    refuses(&world, overlap, &["11100"]);
    let mismatch = config().app("tcp/1000-2000").origin(format!("{ORIGIN}:3000-3999"));
    refuses(&world, mismatch, &["11002", "1001", "1000"]);
}

/// How a connection ends that the kernel accepts before the origin is dialled. A reset may already meet the connect.
fn end_of(connection: io::Result<TcpStream>) -> Result<usize, ErrorKind> {
    connection
        .and_then(|mut connection| {
            connection.write_all(b"hi")?;
            connection.read(&mut [0; 16])
        })
        .map_err(|error| error.kind())
}

/// Ended by the edge, not by the client's patience.
fn is_ended(end: &Result<usize, ErrorKind>) -> bool {
    matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

#[test]
fn an_origin_that_refuses_ends_the_connection_at_once() {
    let world = World::new();
    let edge = world.edge().run(config().app("tcp/443").origin(at(ORIGIN, 9)));
    let begun = Instant::now();
    let end = end_of(world.client().connect(edge.at(443)));
    assert!(is_ended(&end), "{end:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn an_origin_that_never_answers_costs_the_connect_deadline() {
    let world = World::new();
    // Nobody has this address, and an entry for its neighbour keeps the kernel from saying so.
    world.edge().namespace().ip(&["neigh add 203.0.113.250 lladdr 02:00:00:00:00:99 dev eth1 nud permanent"]);
    let edge = world.edge().run(config().app("tcp/443").origin(at(NOBODY, 80)).extension("connect_timeout", "\"1s\""));
    let begun = Instant::now();
    let end = end_of(world.client().connect(edge.at(443)));
    assert!(is_ended(&end), "{end:?}");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(800) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn an_origin_that_is_unreachable_ends_the_connection() {
    let world = World::new();
    let edge = world.edge().run(config().app("tcp/443").origin("198.18.0.1:80"));
    let end = end_of(world.client().connect(edge.at(443)));
    assert!(is_ended(&end), "{end:?}");
}

#[test]
fn an_origin_that_never_reads_stops_its_client_and_grows_nothing() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    let other = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin).app("tcp/444").origin(other.addr()));
    let mut client = world.client().connect(edge.at(443)).unwrap();
    let (_silent, _) = listener.accept().unwrap();
    let before = edge.memory_kib("Rss");
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let (chunk, mut sent) = (vec![7; 65536], 0);
    let full = loop {
        match client.write(&chunk) {
            Ok(length) => sent += length,
            Err(error) => break error,
        }
        assert!(sent < 200 << 20, "200 MB taken from a client whose origin reads nothing");
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock, "backpressure reaches the client after {sent} bytes");
    assert!(edge.memory_kib("Rss") < before + 4096, "from {before} to {} KiB", edge.memory_kib("Rss"));
    assert_eq!(world.client().ask(edge.at(444), b"others go on"), b"others go on");
}

fn serves_again(world: &World, edge: &Daemon<'_>) {
    wait::eventually("it serves again", || {
        world.client().try_ask(None, edge.at(443), b"hi").ok().filter(|answer| answer == b"hi")
    });
}

#[test]
fn more_connections_than_descriptors_wait_or_go_and_nothing_spins() {
    let world = World::new();
    let origin = world.origin().echo();
    let file = world.edge().write_config(config().app("tcp/443").origin(origin.addr()));
    let mut edge = world.edge().start_command(|spectrum| {
        let mut command = Command::new("prlimit");
        command.arg("--nofile=512:512").arg(spectrum).args(["run", "--config"]).arg(file);
        command
    });
    edge.await_ready();
    let mut first = world.client().connect(edge.at(443)).unwrap();
    let mut ask_first = || {
        first.write_all(b"?").unwrap();
        first.read_exact(&mut [0]).unwrap();
    };
    ask_first();
    // Each needs two descriptors of the daemon: more than it has.
    let crowd: Vec<_> = (0..400).map(|_| world.client().connect(edge.at(443))).collect();
    edge.assert_idle();
    ask_first();
    assert!(origin.accepted() >= 64, "{} connections let in", origin.accepted());
    assert_eq!(edge.process().ended(), None);
    drop(crowd);
    serves_again(&world, &edge);
}

#[test]
fn a_kernel_that_gives_no_more_descriptors_is_outwaited_without_spinning() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(config().app("tcp/443").origin(origin.addr()));
    let open = fs::read_dir(format!("/proc/{}/fd", edge.pid())).unwrap().count();
    // Takes away what the daemon had reckoned with: accept(2) answers EMFILE.
    let limit = |files: usize| {
        let (pid, files) = (edge.pid().to_string(), format!("--nofile={files}:20000"));
        world.edge().stdout("prlimit", &["--pid", &pid, &files]);
    };
    limit(open + 6);
    let crowd: Vec<_> = (0..50).map(|_| world.client().connect(edge.at(443))).collect();
    edge.assert_idle();
    drop(crowd);
    serves_again(&world, &edge);
    limit(20_000);
    serves_again(&world, &edge);
    assert_eq!(edge.process().ended(), None);
}

#[test]
fn what_is_not_built_yet_is_refused_and_not_ignored() {
    let world = World::new();
    let udp = config().app("udp/53").origin(at(ORIGIN, 53));
    let sockmap = config().app("tcp/443").origin(at(ORIGIN, 443)).extension("splice", "\"sockmap\"");
    for (text, word) in [(udp, "udp"), (sockmap, "sockmap")] {
        let stderr = refuses(&world, text, &[word]);
        assert!(stderr.contains("not built yet"), "{stderr}");
    }
}

#[test]
fn a_command_that_does_not_exist_is_a_usage_error() {
    let world = World::new();
    assert_eq!(world.edge().spectrum(&["fly"]).status.code(), Some(2));
    assert_eq!(world.edge().spectrum(&["run", "--config"]).status.code(), Some(2));
    let output = world.edge().spectrum(&["run", "--config", "/nowhere.toml"]);
    explains(&output, &["/nowhere.toml"]);
}
