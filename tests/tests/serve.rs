//! What an application is for: its ports of its addresses reach its origin, and nothing else changes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    collections::HashSet,
    fmt::Write as _,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Shutdown, TcpStream},
};

use spectrum_tests::{
    World, config, wait,
    world::{EDGE, EDGE_OTHER, EDGE_V6, HOST, HOST_V6, ORIGIN, client::Knock, edge::at},
};

/// Ports that differ from run to run, printed so that a failure can be repeated.
fn random_ports(count: usize) -> Vec<u16> {
    let mut seed = u64::from(std::process::id()) << 32 | 0x9e37_79b9;
    let mut ports = HashSet::new();
    while ports.len() < count {
        // xorshift64: good enough to scatter.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let port = u16::try_from(seed >> 48).expect("16 bits");
        // The origin itself needs a few ports to answer from.
        if port != 0 {
            ports.insert(port);
        }
    }
    let ports: Vec<_> = ports.into_iter().collect();
    eprintln!("ports: {ports:?}");
    ports
}

#[test]
fn every_port_of_an_address_reaches_its_origin_through_one_listener_per_worker() {
    let world = World::new();
    let mut ports = random_ports(200);
    ports.extend([1, 65535]);
    let _origin = world.origin().named(&ports);
    let edge = world.edge().run(config().node("workers", "2").app("tcp/1-65535").origin(format!("{ORIGIN}:1-65535")));
    for port in ports {
        let answer = world.client().ask(edge.at(port), b"hi");
        assert_eq!(String::from_utf8_lossy(&answer), format!("{port}\nhi"));
    }

    let listeners = world.edge().stdout("ss", &["-Hltn"]);
    let addresses: HashSet<_> = listeners.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(listeners.lines().count(), 2, "one listening socket per worker:\n{listeners}");
    assert_eq!(addresses.len(), 1, "on one address and port:\n{listeners}");
    assert_eq!(world.edge().stdout("iptables-save", &[]), "");
    assert_eq!(world.edge().stdout("nft", &["list", "ruleset"]), "");
    assert_eq!(world.edge().stdout("conntrack", &["-L"]), "");
}

#[test]
fn a_range_keeps_its_offset_and_ends_where_it_ends() {
    let world = World::new();
    let _origin = world.origin().named(&[2999, 3000, 3001, 3500, 3999, 4000, 4001, 999, 1000, 2000]);
    let edge = world.edge().run(config().app("tcp/1000-2000").origin(format!("{ORIGIN}:3000-4000")));
    for (port, origin) in [(1000, 3000), (1001, 3001), (1500, 3500), (1999, 3999), (2000, 4000)] {
        assert_eq!(String::from_utf8_lossy(&world.client().ask(edge.at(port), b"")), format!("{origin}\n"));
    }
    for port in [999, 2001] {
        assert_eq!(world.client().knock(edge.at(port)), Knock::Silence, "port {port}");
    }
}

#[test]
fn two_applications_share_a_port_on_different_addresses() {
    let world = World::new();
    let _origin = world.origin().named(&[3001, 3002]);
    let config = config()
        .app("tcp/443")
        .on(&[EDGE])
        .origin(at(ORIGIN, 3001))
        .app("tcp/443")
        .on(&[EDGE_OTHER])
        .origin(at(ORIGIN, 3002));
    let _edge = world.edge().run(config);
    assert_eq!(world.client().ask(at(EDGE, 443), b"a"), b"3001\na");
    assert_eq!(world.client().ask(at(EDGE_OTHER, 443), b"b"), b"3002\nb");
}

#[test]
fn clients_and_origins_of_either_family_meet() {
    let world = World::new();
    let origin = world.origin().echo();
    let config = config()
        .app("tcp/4000")
        .on(&[EDGE, EDGE_V6])
        .origin(origin.addr())
        .app("tcp/6000")
        .on(&[EDGE, EDGE_V6])
        .origin(origin.addr_v6());
    let edge = world.edge().run(config);
    for to in [edge.at(4000), edge.at(6000), edge.at_v6(4000), edge.at_v6(6000)] {
        assert_eq!(world.client().ask(to, b"over"), b"over", "{to}");
    }
    assert_eq!(world.client().knock(edge.at_v6(4001)), Knock::Silence);
}

#[test]
fn other_ports_of_the_hosts_own_address_stay_the_hosts() {
    let world = World::new();
    let origin = world.origin().echo();
    let _host = world.edge().host_service(&[22, 8080]);
    let _edge = world.edge().run(config().app("tcp/443").on(&[HOST, HOST_V6]).origin(origin.addr()));
    for host in [HOST, HOST_V6] {
        assert_eq!(world.client().ask(at(host, 443), b"ours"), b"ours");
        assert_eq!(world.client().ask(at(host, 22), b"theirs"), b"22\ntheirs");
        assert_eq!(world.client().knock(at(host, 444)), Knock::Refused, "the kernel answers as it always did");
    }
}

#[test]
fn an_applications_port_wins_over_a_service_of_the_host_on_its_address_alone() {
    let world = World::new();
    let origin = world.origin().echo();
    let _host = world.edge().host_service(&[443, 22]);
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()));
    assert_eq!(world.client().ask(edge.at(443), b"ours"), b"ours");
    assert_eq!(world.client().ask(at(HOST, 443), b"theirs"), b"443\ntheirs");
    assert_eq!(world.client().knock(edge.at(22)), Knock::Silence, "a pool address never shows the host's services");
}

#[test]
fn closed_ports_of_a_pool_are_silent_or_reset_as_configured() {
    for (closed, expected, reason) in
        [("drop", Knock::Silence, "closed_port"), ("reset", Knock::Refused, "closed_port_reset")]
    {
        let world = World::new();
        let origin = world.origin().echo();
        let config = config().edge("closed_ports", &format!("\"{closed}\"")).app("tcp/443").origin(origin.addr());
        let edge = world.edge().run(config);
        for to in [edge.at(444), at(EDGE_OTHER, 443), edge.at_v6(443)] {
            assert_eq!(world.client().knock(to), expected, "{closed}: {to}");
        }
        assert!(edge.counter(reason) >= 3, "{reason}: {}", edge.counter(reason));
        assert_eq!(edge.counter("steered"), 0);
    }
}

/// What a silent peer costs is bounded by timers of the kernel, 60 seconds away here.
#[test]
fn the_kernel_watches_both_legs_of_an_idle_connection() {
    let world = World::new();
    let origin = world.origin().echo();
    let edge = world.edge().run(config().app("tcp/443").origin(origin.addr()));
    let mut client = world.client().connect(edge.at(443)).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    wait::eventually("keepalive on both legs", || {
        let sockets = world.edge().stdout("ss", &["-Htno", "state", "established"]);
        sockets.lines().filter(|line| line.contains("timer:(keepalive,")).count().eq(&2).then_some(())
    });
}

/// Runs `test` on both ends of a connection through an edge: the client's, and the origin's.
fn through_an_edge(test: impl FnOnce(TcpStream, TcpStream)) {
    let world = World::new();
    let (listener, address) = world.origin().listen();
    let edge = world.edge().run(config().app("tcp/443").origin(address));
    let client = world.client().connect(edge.at(443)).unwrap();
    let (origin, _) = listener.accept().unwrap();
    origin.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    test(client, origin);
}

#[test]
fn half_close_is_carried_through_in_each_direction() {
    through_an_edge(|mut client, mut origin| {
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        origin.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question", "the origin sees the end");
        origin.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer", "the other direction lives on");
        drop(origin);
        assert_eq!(client.read(&mut answer).unwrap(), 0, "and ends by itself");
    });
}

#[test]
fn the_origin_may_close_its_direction_first() {
    through_an_edge(|mut client, mut origin| {
        origin.write_all(b"banner").unwrap();
        origin.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "banner");
        client.write_all(b"still here").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        origin.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still here");
    });
}

#[test]
fn a_reset_by_one_side_resets_the_other() {
    for by_client in [true, false] {
        through_an_edge(|mut client, mut origin| {
            client.write_all(b"x").unwrap();
            origin.read_exact(&mut [0]).unwrap();
            let (resets, mut sees) = if by_client { (client, origin) } else { (origin, client) };
            socket2::SockRef::from(&resets).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(resets);
            let error = sees.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "reset by the client: {by_client}");
        });
    }
}

#[test]
fn the_origin_sees_the_edge_and_the_client_sees_the_edge_address() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    let edge = world.edge().run(config().app("tcp/443").origin(origin));
    let client = world.client().connect(edge.at(443)).unwrap();
    let (_, from) = listener.accept().unwrap();
    assert_eq!(client.peer_addr().unwrap(), edge.at(443));
    assert_eq!(
        from.ip().to_canonical(),
        "203.0.113.1".parse::<IpAddr>().unwrap(),
        "the edge's own address, never a pool's"
    );
}

#[test]
fn origins_take_turns_and_one_that_refuses_is_passed_over() {
    let world = World::new();
    let _origin = world.origin().named(&[3001, 3002]);
    let app = config().node("workers", "1").app("tcp/443").origin(at(ORIGIN, 3001));
    let edge = world.edge().run(app.origin(at(ORIGIN, 9)).origin(at(ORIGIN, 3002)));
    let mut answers: Vec<_> = (0..6).map(|_| world.client().ask(edge.at(443), b"")).collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers, [b"3001\n", b"3002\n"], "both serve, and nobody meets the one that refuses");
}

#[test]
fn dynamic_edge_addresses_come_out_of_the_pools() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut text = String::from(config());
    writeln!(
        text,
        "[[applications]]\nprotocol = \"tcp/7000\"\ndns = {{ type = \"CNAME\", name = \"dynamic.example.com\" }}\n\
         edge_ips = {{ type = \"dynamic\", connectivity = \"all\" }}\norigin_direct = [\"tcp://{}\"]",
        origin.addr()
    )
    .unwrap();
    let edge = world.edge().run(text);
    let status = edge.status().to_string();
    let addresses = addresses_in(&status);
    let found: Vec<_> = addresses.iter().filter(|address| in_pool(address)).collect();
    assert!(found.iter().any(|address| address.is_ipv4()) && found.iter().any(|address| address.is_ipv6()), "{status}");
    for address in found {
        assert_eq!(world.client().ask(at(*address, 7000), b"dynamic"), b"dynamic", "{address}");
    }
}

fn addresses_in(text: &str) -> HashSet<IpAddr> {
    text.split(|c: char| !c.is_ascii_hexdigit() && c != '.' && c != ':')
        .filter_map(|word| word.trim_matches('.').parse().ok())
        .collect()
}

fn in_pool(address: &IpAddr) -> bool {
    let pools = [spectrum_tests::world::POOL, spectrum_tests::world::POOL_V6];
    pools.iter().any(|pool| {
        let net = pool.parse::<ipnet::IpNet>().expect("a prefix");
        net.contains(address) && net.network() != *address
    })
}
