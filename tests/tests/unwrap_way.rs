//! The rules and routes of `spectrum unwrap`: shared, refused where they are somebody else's, and gone with the last one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

use nix::sys::signal::Signal;
use spectrum_tests::{
    World, wait,
    world::{
        CLIENT, ORIGIN,
        edge::binary,
        namespace::Namespace,
        process::Process,
        systemd::Systemd,
        unwrap::{Unwrap, is_reset, peer, sender, service},
    },
};

/// What `unwrap` could leave in a namespace.
fn traces(namespace: &Namespace) -> String {
    let mut text = String::new();
    for command in [
        ["ip", "rule"].as_slice(),
        &["ip", "-6", "rule"],
        &["ip", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
    ] {
        text += &namespace.stdout(command[0], &command[1..]);
    }
    text + &namespace.stdout("ls", &["-A", "/run"])
}

fn is_clean(namespace: &Namespace, before: &str) {
    wait::eventually("nothing is left", || (traces(namespace) == before).then_some(()));
}

/// Ends with an error that says this.
fn is_refused(mut process: Process, why: &str) {
    assert_eq!(process.wait(wait::DEADLINE).code(), Some(1));
    // The reader of its output is a moment behind.
    wait::eventually(why, || process.printed().contains(why).then_some(()));
}

#[test]
fn an_orderly_end_drains_and_leaves_nothing() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let before = traces(namespace);
    let (v4, _v6, service) = service(&world);
    let mut unwrap = Unwrap::start(namespace, 2222, service, &[]);
    assert_ne!(traces(namespace), before);
    let mut edge = sender(&world, 2222);
    edge.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n").unwrap();
    let (mut accepted, _) = peer(&v4);
    unwrap.process.signal(Signal::SIGTERM);
    unwrap.process.await_line("stopping: 1 open connections");
    edge.write_all(b"still").unwrap();
    let mut bytes = [0; 5];
    accepted.read_exact(&mut bytes).unwrap();
    drop((edge, accepted));
    assert!(unwrap.process.wait(wait::DEADLINE).success());
    assert_eq!(traces(namespace), before);

    // What is still open at the end of the drain is reset, on both sides.
    let mut unwrap = Unwrap::start(namespace, 2222, service, &["--drain", "200ms"]);
    let mut edge = sender(&world, 2222);
    edge.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.10 40001 22\r\n").unwrap();
    let (mut accepted, _) = peer(&v4);
    unwrap.terminate();
    is_reset(&mut edge);
    is_reset(&mut accepted);
    assert_eq!(traces(namespace), before);
}

#[test]
fn killed_it_leaves_nothing_and_where_all_is_killed_the_next_start_cleans_up() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let before = traces(namespace);
    let mut unwrap = Unwrap::start(namespace, 2222, 22, &[]);
    unwrap.process.signal(Signal::SIGKILL);
    unwrap.process.wait(wait::DEADLINE);
    is_clean(namespace, &before);

    let mut unwrap = Unwrap::start(namespace, 2222, 22, &[]);
    let keepers = namespace.stdout("pgrep", &["-P", &unwrap.process.pid().to_string()]);
    for pid in keepers.split_whitespace() {
        let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
        // It does not heed the service manager's signal to everybody.
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    }
    unwrap.process.signal(Signal::SIGKILL);
    unwrap.process.wait(wait::DEADLINE);
    assert_ne!(traces(namespace), before, "nobody was left to clean up");
    Unwrap::start(namespace, 2222, 22, &[]).terminate();
    assert_eq!(traces(namespace), before);
}

#[test]
fn two_share_the_rules_and_the_last_takes_them_away() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let before = traces(namespace);
    let (v4, _v6, service) = service(&world);
    let mut first = Unwrap::start(namespace, 2222, 22, &[]);
    let mut second = Unwrap::start(namespace, 3333, service, &[]);
    let both = traces(namespace);
    // However the first ends, the second's clients go on being seen.
    first.process.signal(Signal::SIGKILL);
    first.process.wait(wait::DEADLINE);
    for _ in 0..2 {
        let mut edge = sender(&world, 3333);
        edge.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n").unwrap();
        assert_eq!(peer(&v4).1.ip(), CLIENT);
        assert_eq!(traces(namespace), both);
        Unwrap::start(namespace, 2222, 22, &[]).terminate();
    }
    second.terminate();
    assert_eq!(traces(namespace), before);
}

#[test]
fn rules_and_routes_that_somebody_removes_are_put_back() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let (v4, v6, service) = service(&world);
    let mut unwrap = Unwrap::start(namespace, 2222, service, &[]);
    let whole = traces(namespace);
    for remove in
        ["-4 rule del priority 213", "-6 rule del priority 213", "route flush table 213", "-6 route flush table 213"]
    {
        namespace.stdout("ip", &remove.split(' ').collect::<Vec<_>>());
        assert_ne!(traces(namespace), whole, "{remove}");
        for (header, listener) in [
            (&b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n"[..], &v4),
            (b"PROXY TCP6 2001:db8::2 2001:db8:51::10 40000 22\r\n", &v6),
        ] {
            let mut edge = sender(&world, 2222);
            edge.write_all(header).unwrap();
            let (mut accepted, peer) = peer(listener);
            assert_eq!(peer.ip().is_ipv4(), header[9] == b'4');
            accepted.write_all(b"answer").unwrap();
            edge.read_exact(&mut [0; 6]).unwrap();
        }
        unwrap.process.await_line("are put back: who removes them?");
        unwrap.process.forget();
        assert_eq!(traces(namespace), whole, "{remove}");
    }
    unwrap.terminate();
    assert!(!traces(namespace).contains("213"));
}

/// As `packaging/spectrum-unwrap@.service` says, on the edge, because that is where this world's systemd is.
#[test]
fn the_unit_serves_clients_of_low_ports_and_puts_back_what_others_remove() {
    let world = World::new();
    let host = Systemd::boot(world.edge());
    let namespace = world.edge().namespace();
    let service = namespace.run(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = service.local_addr().unwrap().port();
    let arguments = format!("ARGUMENTS=--listen 203.0.113.1:722 --to 127.0.0.1:{port} --from {ORIGIN}\n");
    host.write("/etc/spectrum/unwrap-ssh.conf", arguments);
    let unit = include_str!("../../packaging/spectrum-unwrap@.service");
    host.write("/etc/systemd/system/spectrum-unwrap@.service", unit);
    host.stdout("systemctl", &["daemon-reload"]);
    host.stdout("systemctl", &["start", "spectrum-unwrap@ssh"]);
    let serves = |client: u16| {
        let mut sender = world.origin().namespace().run(|| TcpStream::connect("203.0.113.1:722")).unwrap();
        sender.write_all(format!("PROXY TCP4 192.0.2.9 198.51.100.10 {client} 22\r\n").as_bytes()).unwrap();
        assert_eq!(peer(&service).1.to_string(), format!("192.0.2.9:{client}"));
    };
    let has_rules = || namespace.stdout("ip", &["rule"]).contains("213");
    serves(700);
    // As systemd-networkd does with what it does not know (`ManageForeignRoutingPolicyRules=`).
    namespace.ip(&["rule del priority 213", "route flush table 213"]);
    wait::eventually("it says what was gone", || {
        let log = host.stdout("journalctl", &["--unit", "spectrum-unwrap@ssh"]);
        log.contains("are put back").then_some(())
    });
    serves(701);
    // Both processes of it: what is left is for the next start.
    host.stdout("systemctl", &["kill", "--signal", "KILL", "spectrum-unwrap@ssh"]);
    wait::eventually("it runs again", || {
        let restarts = ["show", "--property", "NRestarts,ActiveState", "spectrum-unwrap@ssh"];
        let text = host.stdout("systemctl", &restarts);
        (text.contains("NRestarts=1") && text.contains("ActiveState=active")).then_some(())
    });
    serves(702);
    host.stdout("systemctl", &["stop", "spectrum-unwrap@ssh"]);
    assert!(!has_rules());
    assert!(!host.output("systemctl", &["is-failed", "spectrum-unwrap@ssh"]).status.success());
}

#[test]
fn containers_on_one_network_share_the_rules_whatever_is_in_run() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let (v4, _v6, service) = service(&world);
    let mut first = Unwrap::start(namespace, 2222, service, &[]);
    let mut command = Command::new("unshare");
    let line = format!(
        "mount -t tmpfs -o ro tmpfs /run && exec {} unwrap --listen 0.0.0.0:3333 --to 127.0.0.1:{service} --from 203.0.113.1",
        binary().display()
    );
    command.args(["--mount", "sh", "-c", &line]);
    let mut second = Process::start(namespace, "container", command);
    second.await_line("0.0.0.0:3333 -> 127.0.0.1");
    let both = traces(namespace);
    // Neither an end in good order nor one by a kill takes away what the other uses.
    first.terminate();
    assert_eq!(traces(namespace), both);
    let mut third = Unwrap::start(namespace, 2222, service, &[]);
    let keeper = namespace.stdout("pgrep", &["-P", &third.process.pid().to_string()]);
    let keeper = format!("/proc/{}/cmdline", keeper.trim());
    let runs = || {
        namespace
            .run({
                let keeper = keeper.clone();
                move || std::fs::read(keeper)
            })
            .is_ok_and(|line| !line.is_empty())
    };
    assert!(runs());
    third.process.signal(Signal::SIGKILL);
    third.process.wait(wait::DEADLINE);
    wait::eventually("its keeper has ended", || (!runs()).then_some(()));
    let mut edge = sender(&world, 3333);
    edge.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n").unwrap();
    assert_eq!(peer(&v4).1.ip(), CLIENT);
    drop(edge);
    assert_eq!((traces(namespace), second.printed().contains("put back")), (both, false));
    second.signal(Signal::SIGTERM);
    assert!(second.wait(wait::DEADLINE).success());
    assert!(!traces(namespace).contains("213"));
}

/// As Docker forwards ports of localhost without its proxy, and kube-proxy node ports.
#[test]
fn what_else_loopback_sends_elsewhere_arrives_there() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let elsewhere = world.edge().namespace().run(|| TcpListener::bind("203.0.113.1:9999")).unwrap();
    namespace.stdout("sysctl", &["-qw", "net.ipv4.conf.all.route_localnet=1"]);
    let rules = "table ip t {\nchain o { type nat hook output priority -100; ip daddr 127.0.0.1 tcp dport 8888 dnat to \
                 203.0.113.1:9999; }\nchain p { type nat hook postrouting priority 100; ip saddr 127.0.0.0/8 oifname \"eth0\" \
                 masquerade; }\n}\n";
    let rules = namespace.write("localhost.nft", rules);
    namespace.stdout("nft", &["-f", rules.to_str().unwrap()]);
    let (v4, _v6, service) = service(&world);
    let _unwrap = Unwrap::start(namespace, 2222, service, &[]);
    let mut here = namespace.run(|| TcpStream::connect("127.0.0.1:8888")).unwrap();
    let (mut accepted, _) = elsewhere.accept().unwrap();
    here.write_all(b"there").unwrap();
    let mut bytes = [0; 5];
    accepted.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"there");
    let mut edge = sender(&world, 2222);
    edge.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n").unwrap();
    assert_eq!(peer(&v4).1.ip(), CLIENT);
}

#[test]
fn numbers_that_somebody_else_uses_are_refused_and_left_alone() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let ip = |line: &str| namespace.stdout("ip", &line.split(' ').collect::<Vec<_>>());
    let arguments =
        ["unwrap", "--listen", "0.0.0.0:2222", "--to", "127.0.0.1:22", "--to", "[::1]:22", "--from", "203.0.113.1"];
    for (add, delete, word) in [
        ("-4 rule add from 192.0.2.9 lookup 213", "-4 rule del from 192.0.2.9 lookup 213", "ip -4 rule show"),
        ("-6 rule add from ::2 lookup main priority 213", "-6 rule del priority 213", "ip -6 rule show"),
        ("-4 route add blackhole 192.0.2.9 table 213", "-4 route flush table 213", "route show table 213"),
    ] {
        ip(add);
        let before = traces(namespace);
        let mut command = Command::new(binary());
        command.args(arguments);
        is_refused(Process::start(namespace, "unwrap", command), word);
        assert_eq!(traces(namespace), before);
        ip(delete);
    }
}

#[test]
fn a_service_of_one_family_needs_nothing_of_the_other() {
    let world = World::new();
    let namespace = world.origin().namespace();
    namespace.stdout("sysctl", &["-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.lo.disable_ipv6=1"]);
    let start = |to: &'static str| {
        let mut command = Command::new(binary());
        command.args(["unwrap", "--listen", "0.0.0.0:2222", "--from", "203.0.113.1", "--to", to]);
        Process::start(namespace, "unwrap", command)
    };
    let mut ipv4 = start("127.0.0.1:22");
    ipv4.await_line("0.0.0.0:2222 -> 127.0.0.1:22");
    assert!(traces(namespace).contains("213"));
    ipv4.signal(Signal::SIGTERM);
    assert!(ipv4.wait(wait::DEADLINE).success());
    is_refused(start("[::1]:22"), "disable_ipv6");
    wait::eventually("nothing is left", || (!traces(namespace).contains("213")).then_some(()));
}
