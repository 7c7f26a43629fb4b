//! Who may reach an application: a blocked source is dropped before any socket sees it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::io::{ErrorKind, Read as _, Write as _};

use spectrum_tests::{
    World, config,
    world::{CLIENT, CLIENT_V6, EDGE, EDGE_V6, SHUNNED, SHUNNED_V6, client::Knock, edge::Edge},
};

/// What the edge's TCP has seen so far: any segment that XDP lets through changes it.
fn segments_seen(edge: &Edge) -> u64 {
    // Not /proc/net, which is the namespace of the process's first thread.
    let text = edge.namespace().run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut tcp = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let column = names.split(' ').position(|name| name == "InSegs").unwrap();
    values.split(' ').nth(column).unwrap().parse().unwrap()
}

#[test]
fn a_blocked_source_is_dropped_before_any_socket_sees_it() {
    for mode in ["native", "generic"] {
        let world = World::new();
        let origin = world.origin().echo();
        let config = config()
            .node("xdp_mode", &format!("\"{mode}\""))
            .app("tcp/443")
            .on(&[EDGE, EDGE_V6])
            .origin(origin.addr())
            .ip_firewall()
            .block("192.0.2.66")
            .block("2001:db8:c::66");
        let edge = world.edge().run(config);
        for (shunned, other, to) in [(SHUNNED, CLIENT, edge.at(443)), (SHUNNED_V6, CLIENT_V6, edge.at_v6(443))] {
            let (seen, blocked) = (segments_seen(world.edge()), edge.counter("blocked"));
            assert_eq!(world.client().knock_from(shunned, to), Knock::Silence, "{mode}");
            assert!(edge.counter("blocked") > blocked, "{mode}: counted");
            assert_eq!(segments_seen(world.edge()), seen, "{mode}: the SYN reached the kernel's TCP");
            assert_eq!(world.client().ask_from(other, to, b"hi"), b"hi", "{mode}: its neighbour is served");
        }
        assert_eq!(origin.accepted(), 2);
    }
}

#[test]
fn an_application_without_ip_firewall_serves_blocked_sources() {
    let world = World::new();
    let origin = world.origin().echo();
    let config = config()
        .app("tcp/443")
        .origin(origin.addr())
        .app("tcp/444")
        .origin(origin.addr())
        .ip_firewall()
        .block("192.0.2.0/24");
    let edge = world.edge().run(config);
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(444)), Knock::Silence);
}

#[test]
fn allow_beats_block_whichever_is_more_specific() {
    let world = World::new();
    let origin = world.origin().echo();
    let base = || config().app("tcp/443").origin(origin.addr()).ip_firewall();
    let allow_one = base().block("192.0.2.0/24").allow("192.0.2.66");
    let allow_all = base().block("192.0.2.66").allow("192.0.2.0/24");
    let mut edge = world.edge().run(allow_one);
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    assert_eq!(world.client().knock_from(CLIENT, edge.at(443)), Knock::Silence);
    edge.reload(allow_all);
    assert_eq!(world.client().ask_from(SHUNNED, edge.at(443), b"hi"), b"hi");
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
    assert!(edge.counter("allowed") > 0);
}

#[test]
fn a_zones_rule_blocks_in_its_zone() {
    let world = World::new();
    let origin = world.origin().echo();
    let config = config().app("tcp/443").origin(origin.addr()).ip_firewall().block_in_zone("192.0.2.66");
    let edge = world.edge().run(config);
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
}

#[test]
fn without_xdp_the_backstop_at_accept_still_refuses() {
    let world = World::new();
    let origin = world.origin().echo();
    let config =
        config().node("xdp_mode", "\"off\"").app("tcp/443").origin(origin.addr()).ip_firewall().block("192.0.2.66");
    let edge = world.edge().run(config);
    let answer = world.client().try_ask(Some(SHUNNED), edge.at(443), b"hi").unwrap_or_default();
    assert_eq!(answer, b"", "accepted by the kernel, refused by the program");
    assert_eq!(origin.accepted(), 0);
    assert_eq!(world.client().ask_from(CLIENT, edge.at(443), b"hi"), b"hi");
}

#[test]
fn a_new_block_ends_open_connections_of_its_source_alone() {
    let world = World::new();
    let origin = world.origin().echo();
    let open = || config().app("tcp/443").origin(origin.addr()).ip_firewall();
    let mut edge = world.edge().run(open());
    let mut connections = [SHUNNED, CLIENT].map(|source| world.client().connect_from(source, edge.at(443)).unwrap());
    for connection in &mut connections {
        connection.write_all(b"?").unwrap();
        connection.read_exact(&mut [0]).unwrap();
    }
    edge.reload(open().block("192.0.2.66"));
    let [mut shunned, mut other] = connections;
    let error = shunned.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    other.write_all(b"!").unwrap();
    other.read_exact(&mut [0]).unwrap();
}
