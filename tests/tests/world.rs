//! The world itself: what the other files rely on, shown without `spectrum`.

use std::{
    io::{BufRead as _, BufReader, ErrorKind},
    process::{Command, Stdio},
};

use spectrum_tests::{
    World, wait,
    world::{CLIENT, HOST, ORIGIN, client::Knock, edge::at},
};

#[test]
fn the_edge_reaches_both_sides_and_the_client_not_the_origin() {
    let world = World::new();
    let origin = world.origin().echo();
    let (to, to_v6) = (origin.addr(), origin.addr_v6());
    let reach = move |to| std::net::TcpStream::connect(to).map(|_| ());
    world.edge().namespace().run(move || reach(to)).unwrap();
    world.edge().namespace().run(move || reach(to_v6)).unwrap();
    assert_eq!(world.client().knock(at(HOST, 9)), Knock::Refused);
    let error = world.client().connect(at(ORIGIN, to.port())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
}

#[test]
fn the_built_in_server_echoes_and_names_its_port() {
    let world = World::new();
    let echo = world.origin().named(&[3000]);
    let to = echo.addr();
    let answer = world.edge().namespace().run(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(to).unwrap();
        stream.write_all(b"hi").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer, "3000\nhi");
    assert_eq!(echo.accepted(), 1);
}

#[test]
fn the_distributions_servers_run_in_the_origin() {
    let world = World::new();
    let servers = [world.origin().redis(), world.origin().nginx(), world.origin().iperf3()];
    let ssh = world.origin().sshd();
    assert_eq!(servers.map(|server| server.addr().port()), [6379, 80, 5201]);
    assert_eq!(ssh.addr().port(), 22);
}

#[test]
fn the_client_has_the_addresses_that_the_tests_speak_of() {
    let world = World::new();
    assert!(world.client().stdout("ip", &["address"]).contains(&CLIENT.to_string()));
}

/// As `cargo xtask` starts whatever touches the kernel, with what stands in for it gone.
#[test]
fn a_sandbox_ends_with_who_started_it() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/src/sandbox.sh");
    let mut sandbox = Command::new("unshare");
    sandbox.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", script]);
    sandbox.args(["sh", "-c", "trap '' HUP INT TERM; echo here; sleep 600; sleep 600"]);
    let mut sandbox = sandbox.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(sandbox.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), sandbox.try_wait().unwrap()), ("here\n", None));
    // What the kernel does with it at the end of a process.
    drop(sandbox.stdin.take());
    let ended = wait::within(wait::DEADLINE, || sandbox.try_wait().unwrap());
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}");
}

#[test]
fn nothing_of_a_world_is_visible_outside() {
    let world = World::new();
    world.edge().namespace().run(|| std::fs::create_dir("/sys/fs/bpf/here")).unwrap();
    assert!(!std::path::Path::new("/sys/fs/bpf/here").exists());
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    let theirs = world.edge().namespace().run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    assert_ne!(ours, theirs);
}
