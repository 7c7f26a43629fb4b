//! The unit under a real service manager: what the README installs serves, reloads, restarts and stops, within all that
//! the unit forbids it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics: that is its report")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config, wait,
    world::{
        EDGE,
        client::Knock,
        config::Config,
        edge::at,
        load::Load,
        systemd::Systemd,
        trafgen::{self, Flood},
    },
};

const CONFIG: &str = "/etc/spectrum/spectrum.toml";

fn node(port: u16, origin: SocketAddr) -> Config {
    config().app(&format!("tcp/{port}")).origin(origin)
}

/// As the README says.
fn install<'edge>(world: &'edge World, config: &Config) -> Systemd<'edge> {
    let host = Systemd::boot(world.edge());
    host.write(CONFIG, config);
    host.write("/etc/systemd/system/spectrum.service", include_str!("../../packaging/spectrum.service"));
    host.stdout("systemctl", &["daemon-reload"]);
    host.stdout("systemctl", &["enable", "--now", "spectrum"]);
    host
}

#[test]
fn the_unit_serves_reloads_restarts_and_stops() {
    let world = World::new();
    let origin = world.origin().echo();
    let host = install(&world, &node(443, origin.addr()));
    let serves = |port| assert_eq!(world.client().ask(at(EDGE, port), b"hi"), b"hi");
    serves(443);

    host.write(CONFIG, node(443, origin.addr()).app("tcp/bad").origin(origin.addr()));
    assert!(!host.output("systemctl", &["reload", "spectrum"]).status.success());
    let log = host.stdout("journalctl", &["--unit", "spectrum"]);
    assert!(log.contains("`bad` is not a port") && log.contains("everything stays as it was"), "{log}");
    serves(443);
    host.write(CONFIG, node(8443, origin.addr()));
    host.stdout("systemctl", &["reload", "spectrum"]);
    serves(8443);
    assert_eq!(world.client().knock(at(EDGE, 443)), Knock::Silence);

    host.stdout("spectrum", &["rule", "create", "block", "203.0.113.77"]);
    let before = host.stdout("systemctl", &["show", "--property", "MainPID", "spectrum"]);
    host.stdout("systemctl", &["kill", "--signal", "KILL", "spectrum"]);
    wait::eventually("it runs again", || {
        let now = host.stdout("systemctl", &["show", "--property", "MainPID,ActiveState", "spectrum"]);
        (now.contains("ActiveState=active") && !now.contains(before.trim())).then_some(())
    });
    serves(8443);
    assert!(host.stdout("spectrum", &["rule", "list"]).contains("203.0.113.77"), "it was kept");

    host.stdout("systemctl", &["stop", "spectrum"]);
    assert!(!host.output("systemctl", &["is-failed", "spectrum"]).status.success());
    assert_left_nothing(&world, &host);
}

fn main_pid(host: &Systemd<'_>) -> String {
    host.stdout("systemctl", &["show", "--property", "MainPID", "--value", "spectrum"]).trim().to_owned()
}

#[test]
fn an_upgrade_is_followed_by_the_service_manager() {
    let world = World::new();
    let origin = world.origin().echo();
    let host = install(&world, &node(443, origin.addr()));
    let load = Load::begin(world.client(), at(EDGE, 443), 3, Duration::ZERO);
    for _ in 0..3 {
        let before = main_pid(&host);
        load.goes_on();
        host.stdout("spectrum", &["upgrade"]);
        wait::eventually("another process is the main one", || (main_pid(&host) != before).then_some(()));
    }
    load.goes_on();
    host.stdout("systemctl", &["reload", "spectrum"]);
    assert_eq!(host.stdout("systemctl", &["is-active", "spectrum"]), "active\n");
    load.end().assert_all_answered();

    let before = main_pid(&host);
    host.stdout("systemctl", &["kill", "--kill-who", "main", "--signal", "KILL", "spectrum"]);
    wait::eventually("what took over is watched, too", || {
        let now = main_pid(&host);
        (now != before && now != "0").then_some(())
    });
    assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
    host.stdout("systemctl", &["stop", "spectrum"]);
    assert!(!host.output("systemctl", &["is-failed", "spectrum"]).status.success());
    assert_left_nothing(&world, &host);
}

#[test]
fn a_restart_and_a_crash_refuse_nobody_who_connects_meanwhile() {
    let world = World::new();
    let origin = world.origin().echo();
    let host = install(&world, &node(443, origin.addr()));
    let load = Load::begin(world.client(), at(EDGE, 443), 3, Duration::ZERO);
    for _ in 0..3 {
        load.goes_on();
        host.stdout("systemctl", &["restart", "spectrum"]);
    }
    load.goes_on();
    load.end().assert_all_answered();

    // More starts in a row than the unit allows.
    host.stdout("systemctl", &["reset-failed", "spectrum"]);
    // Whoever was connected is reset with the process that is killed, and who comes next waits.
    for _ in 0..3 {
        let before = main_pid(&host);
        host.stdout("systemctl", &["kill", "--kill-who", "main", "--signal", "KILL", "spectrum"]);
        wait::eventually("it is gone", || (main_pid(&host) != before).then_some(()));
        assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
        wait::eventually("it runs again", || host.output("spectrum", &["status"]).status.success().then_some(()));
    }
    host.stdout("systemctl", &["stop", "spectrum"]);
    assert_left_nothing(&world, &host);
}

/// The unit gives it less time than the file does, and it is asked for more.
#[test]
fn a_drain_longer_than_the_units_patience_is_waited_for_to_its_end() {
    let world = World::new();
    let origin = world.origin().echo();
    let events = "[events]\nfile = \"/var/log/spectrum/events.jsonl\"\n";
    let host = install(&world, &node(443, origin.addr()).node("drain", "\"8s\"").raw(events));
    host.stdout("mkdir", &["/etc/systemd/system/spectrum.service.d"]);
    host.write("/etc/systemd/system/spectrum.service.d/patience.conf", "[Service]\nTimeoutStopSec=2\n");
    host.stdout("systemctl", &["daemon-reload"]);
    let predecessors = world.client().connect_many(at(EDGE, 443), 3);
    host.stdout("spectrum", &["upgrade"]);
    let successors = world.client().connect_many(at(EDGE, 443), 2);
    let begun = Instant::now();
    host.stdout("systemctl", &["stop", "spectrum"]);
    assert!(begun.elapsed() >= Duration::from_secs(7), "{:?}", begun.elapsed());
    assert!(!host.output("systemctl", &["is-failed", "spectrum"]).status.success());
    let told = host.stdout("cat", &["/var/log/spectrum/events.jsonl"]);
    let count = |kind: &str| told.matches(&format!("\"Event\":\"{kind}\"")).count();
    assert_eq!((count("connect"), count("disconnect")), (5, 5), "{told}");
    assert_left_nothing(&world, &host);
    drop((predecessors, successors));
}

fn assert_left_nothing(world: &World, host: &Systemd<'_>) {
    assert!(!host.output("ls", &["/sys/fs/bpf/spectrum"]).status.success());
    assert_eq!(host.stdout("ls", &["-A", "/run/spectrum"]), "");
    assert!(!world.edge().stdout("ip", &["route", "show", "table", "local"]).contains("198.51.100"));
    assert!(!host.stdout("ss", &["-Hltn"]).contains("127.0.0.1"), "nobody keeps a socket");
}

/// The unit has the whole of /proc/sys read-only, but for two files.
#[test]
fn in_a_flood_it_may_switch_the_protected_mode_on_and_puts_it_back() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let sysctls = || {
        let names = ["net.ipv4.tcp_syncookies", "net.ipv4.tcp_timestamps"];
        names.map(|name| world.edge().stdout("sysctl", &["--values", name]).trim().to_owned())
    };
    let host = install(&world, &node(443, origin.addr()));
    let syn = trafgen::syns_to(443);
    let flood = Flood::start(&world, &[&syn], 300_000, 12_000);
    wait::eventually("it protects", || (sysctls() == ["2", "2"]).then_some(()));
    assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
    drop(flood);
    host.stdout("systemctl", &["kill", "--signal", "KILL", "spectrum"]);
    wait::eventually("the next start puts it back", || (sysctls() == ["1", "1"]).then_some(()));
    host.stdout("systemctl", &["stop", "spectrum"]);
    assert_eq!(sysctls(), ["1", "1"]);
}

/// As on a kernel that was booted with `ipv6.disable=1`: no socket has that family.
#[test]
fn without_ipv6_it_serves_and_protects_ipv4() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let host = install(&world, &node(443, origin.addr()));
    host.stdout("mkdir", &["/etc/systemd/system/spectrum.service.d"]);
    let only = "[Service]\nRestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX AF_INET AF_NETLINK\n";
    host.write("/etc/systemd/system/spectrum.service.d/ipv4.conf", only);
    host.stdout("systemctl", &["daemon-reload"]);
    // Not a restart: that would keep the sockets, which no kernel without IPv6 could have.
    host.stdout("systemctl", &["stop", "spectrum"]);
    host.stdout("systemctl", &["start", "spectrum"]);
    let listening = host.stdout("ss", &["--tcp", "--listening", "--numeric", "--no-header"]);
    assert!(listening.contains("127.0.0.1:") && !listening.contains("::ffff"), "{listening}");
    assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
    let syn = trafgen::syns_to(443);
    let flood = Flood::start(&world, &[&syn], 300_000, 12_000);
    wait::eventually("it protects", || host.stdout("spectrum", &["status"]).contains("protected mode").then_some(()));
    for _ in 0..20 {
        assert_eq!(world.client().ask(at(EDGE, 443), b"hi"), b"hi");
    }
    drop(flood);
}
