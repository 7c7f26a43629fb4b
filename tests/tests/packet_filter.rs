//! A host with a stateful packet filter, as ufw and firewalld set it up: established connections, no invalid packets, and
//! the applications' ports.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use spectrum_tests::{World, config, stream::Stream, wait, world::edge::Daemon};

const STATEFUL: &str = "table inet host {
    chain input {
        type filter hook input priority filter; policy drop
        iif lo accept
        ct state established,related accept
        ct state invalid drop
        meta l4proto { icmp, ipv6-icmp } accept
        tcp dport 443 accept
    }
}
";
const UNTRACKED: &str = "table inet edge {
    chain in {
        type filter hook prerouting priority raw
        ip daddr 198.51.100.0/24 notrack
    }
    chain out {
        type filter hook output priority raw
        ip saddr 198.51.100.0/24 notrack
    }
}
";
const MEBIBYTE: usize = 1 << 20;

fn filter(world: &World, loose: &str, ruleset: &str) {
    let loose = format!("net.netfilter.nf_conntrack_tcp_loose={loose}");
    world.edge().stdout("sysctl", &["--write", &loose]);
    let file = world.edge().namespace().write("filter.nft", ruleset);
    world.edge().stdout("nft", &["--file", file.to_str().unwrap()]);
}

fn protected(edge: &Daemon<'_>) {
    wait::eventually("the protected mode is on", || edge.is_protected().then_some(()));
}

#[test]
fn connections_that_a_cookie_began_pass_it() {
    for (loose, ruleset) in [("1", STATEFUL.to_owned()), ("0", STATEFUL.to_owned() + UNTRACKED)] {
        let world = World::new();
        world.client().take_answers();
        let (listener, origin) = world.origin().listen();
        filter(&world, loose, &ruleset);
        let edge = world.edge().run(config().app("tcp/443").origin(origin).extension("syn_cookies", "\"always\""));
        protected(&edge);
        let answered = edge.counter("syn_cookie");
        let client = world.client().connect(edge.at(443)).unwrap();
        let (origin, _) = listener.accept().unwrap();
        assert!(edge.counter("syn_cookie") > answered);
        Stream::both_ways(16 * MEBIBYTE, client, origin);
    }
}

#[test]
fn where_they_would_be_invalid_that_is_told() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    filter(&world, "0", STATEFUL);
    let doctor = world.edge().spectrum_ok(&["doctor"]);
    assert!(doctor.contains("nf_conntrack_tcp_loose = 0"), "{doctor}");
    let node = |cookies: &str| config().app("tcp/443").origin(origin.addr()).extension("syn_cookies", cookies);
    let mut edge = world.edge().run(node("\"auto\""));
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi", "as long as the kernel itself answers");
    edge.reload(node("\"always\""));
    protected(&edge);
    edge.process().await_line("nf_conntrack_tcp_loose = 0");
    // The answer to its SYN came from XDP; nothing that it sends now arrives.
    let mut shut_out = world.client().connect(edge.at(443)).unwrap();
    shut_out.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(shut_out.write_all(b"hi").and_then(|()| shut_out.read_exact(&mut [0; 2])).is_err());
    world.edge().stdout("sysctl", &["--write", "net.netfilter.nf_conntrack_tcp_loose=1"]);
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
}
