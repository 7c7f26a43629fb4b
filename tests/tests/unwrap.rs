//! `spectrum unwrap` beside origins that read no PROXY header: what they see, and what they never hear of.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use spectrum_tests::{
    World, config,
    stream::Stream,
    wait,
    world::{
        CLIENT, CLIENT_V6, EDGE, EDGE_V6, ORIGIN, ORIGIN_V6,
        edge::{at, binary},
        process::Process,
        unwrap::{EDGES, Unwrap, is_reset, peer, sender, service},
    },
};

#[test]
fn the_service_sees_the_clients_own_address_and_port() {
    let world = World::new();
    let (v4, v6, service) = service(&world);
    let _unwrap = Unwrap::start(world.origin().namespace(), 2222, service, &[]);
    for version in ["v1", "v2"] {
        let app = config().app("tcp/22").on(&[EDGE, EDGE_V6]).origin(at(ORIGIN, 2222));
        let edge = world.edge().run(app.line(&format!("proxy_protocol = \"{version}\"")));
        for (address, client, listener) in [(edge.at(22), CLIENT, &v4), (edge.at_v6(22), CLIENT_V6, &v6)] {
            let mut stream = world.client().connect_from(client, address).unwrap();
            stream.write_all(b"at once").unwrap();
            let (mut accepted, peer) = peer(listener);
            assert_eq!(peer, SocketAddr::new(client, stream.local_addr().unwrap().port()));
            let mut bytes = [0; 7];
            accepted.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"at once");
            Stream::both_ways(3_000_000, stream, accepted);
        }
    }
}

#[test]
fn sshd_logs_the_client() {
    let world = World::new();
    let sshd = world.origin().sshd();
    let (port, identity) = (sshd.addr().port(), sshd.identity().to_owned());
    let _unwrap = Unwrap::start(world.origin().namespace(), 2222, port, &[]);
    let app = config().app("tcp/22").on(&[EDGE, EDGE_V6]).origin(at(ORIGIN_V6, 2222)).line("proxy_protocol = \"v2\"");
    let edge = world.edge().run(app);
    for (address, client) in [(edge.at(22), CLIENT), (edge.at_v6(22), CLIENT_V6)] {
        let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"];
        let from = client.to_string();
        let mut arguments = vec!["-F", "none", "-b", &from, "-i", &identity, "-l", "root"];
        arguments.extend(options.iter().flat_map(|option| ["-o", option]));
        let host = address.ip().to_string();
        arguments.extend([&host, "echo $SSH_CLIENT"]);
        let shown = world.client().stdout("ssh", &arguments);
        assert_eq!(shown.split(' ').next(), Some(&*client.to_string()), "{shown}");
    }
}

#[test]
fn redis_shows_the_client_through_thousands_of_short_connections() {
    let world = World::new();
    let redis = world.origin().redis();
    let _unwrap = Unwrap::start(world.origin().namespace(), 2222, redis.addr().port(), &[]);
    let app = config().app("tcp/6379").origin(at(ORIGIN, 2222)).line("proxy_protocol = \"v2\"");
    let edge = world.edge().run(app.extension("proxy_tlvs", "[\"crc32c\", \"unique_id\"]"));
    let host = edge.at(6379).ip().to_string();
    // A new connection for each request: ports of the client come again and again.
    let text = world
        .client()
        .stdout("redis-benchmark", &["-h", &host, "-n", "3000", "-c", "20", "-k", "0", "-q", "-t", "set"]);
    assert!(text.contains("SET:"), "{text}");
    let list = world.client().stdout("redis-cli", &["-h", &host, "client", "list"]);
    assert!(list.contains(&format!(" addr={CLIENT}:")) && list.contains(" laddr=127.0.0.1:6379"), "{list}");
}

#[test]
fn half_close_and_reset_are_carried_through() {
    let world = World::new();
    let (v4, _v6, service) = service(&world);
    let _unwrap = Unwrap::start(world.origin().namespace(), 2222, service, &[]);
    let header = b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n";
    let mut edge = sender(&world, 2222);
    edge.write_all(&[header, &b"question"[..]].concat()).unwrap();
    let (mut accepted, _) = peer(&v4);
    edge.shutdown(Shutdown::Write).unwrap();
    let mut question = Vec::new();
    accepted.read_to_end(&mut question).unwrap();
    accepted.write_all(b"answer").unwrap();
    drop(accepted);
    let mut answer = Vec::new();
    edge.read_to_end(&mut answer).unwrap();
    assert_eq!((&question[..], &answer[..]), (&b"question"[..], &b"answer"[..]));
    // The same client from the same port, at once: the ends of the connection before are still known here.
    for reset_by_sender in [true, false] {
        let mut edge = sender(&world, 2222);
        edge.write_all(header).unwrap();
        let (mut accepted, peer) = peer(&v4);
        assert_eq!(peer.ip(), CLIENT);
        let (one, other) = if reset_by_sender { (edge, &mut accepted) } else { (accepted, &mut edge) };
        socket2::SockRef::from(&one).set_linger(Some(Duration::ZERO)).unwrap();
        drop(one);
        is_reset(other);
    }
}

#[test]
fn headers_come_in_pieces_and_with_what_follows_them() {
    let world = World::new();
    let (v4, _v6, service) = service(&world);
    let _unwrap = Unwrap::start(world.origin().namespace(), 2222, service, &[]);
    let v2 =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x07\xa5\x3c\x01\xbb\x03\0\x04\xaf\xe2\x20\x81";
    // With a certificate that needs more than one read.
    let long = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x20\x0f\xc0\0\x02\x01\xc6\x33\x64\x07\xa5\x3c\x01\xbb\xee\x20\0",
        &[7; 8192][..],
    ]
    .concat();
    for header in [&b"PROXY TCP4 192.0.2.1 198.51.100.7 42300 443\r\n"[..], v2, &long] {
        let mut edge = sender(&world, 2222);
        for byte in header.chunks((header.len() / 40).max(1)) {
            edge.write_all(byte).unwrap();
        }
        edge.write_all(b"first").unwrap();
        let (mut accepted, peer) = peer(&v4);
        assert_eq!(peer.ip(), IpAddr::from([192, 0, 2, 1]));
        let mut first = [0; 5];
        accepted.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"first");
    }
}

#[test]
fn where_a_header_names_nobody_the_service_sees_the_sender_and_never_its_own_host() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let (v4, v6, service) = service(&world);
    let senders = format!("{EDGES},127.0.0.0/8,{ORIGIN}");
    let _unwrap = Unwrap::start(namespace, 2222, service, &["--from", &senders]);
    // With the addresses of a Unix socket, and LOCAL with some that count for nothing.
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'a'; 216]].concat();
    let named = b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02";
    let headers =
        [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", &unix, named];
    let edges = [at(ORIGIN, 2222), at(ORIGIN_V6, 2222)].map(|address| (world.edge().namespace(), address));
    // The sender's own host is this one: the one whose word is as good as its own.
    for (from, to) in
        edges.into_iter().chain([(namespace, "127.0.0.1:2222".parse().unwrap()), (namespace, at(ORIGIN, 2222))])
    {
        for header in headers {
            let mut sender = from.run(move || TcpStream::connect(to)).unwrap();
            sender.write_all(&[header, b"first"].concat()).unwrap();
            let (mut accepted, peer) = peer(if to.is_ipv4() { &v4 } else { &v6 });
            assert_eq!(peer.ip(), sender.local_addr().unwrap().ip());
            let mut first = [0; 5];
            accepted.read_exact(&mut first).unwrap();
        }
    }
}

#[test]
fn what_is_no_header_is_reset_and_the_service_never_hears_of_it() {
    let world = World::new();
    // By which any address can be bound to, and whose it is must be told in another way.
    world.origin().namespace().stdout("sysctl", &["-qw", "net.ipv4.ip_nonlocal_bind=1", "net.ipv6.ip_nonlocal_bind=1"]);
    let (v4, v6, service) = service(&world);
    let _unwrap = Unwrap::start(world.origin().namespace(), 2222, service, &["--header-timeout", "500ms"]);
    let oversized = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 600]].concat();
    let endless = [b"PROXY TCP4 ", &[b'1'; 300][..]].concat();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
        b"PROXY TCP4 127.0.0.1 198.51.100.7 1 2\r\n",
        b"PROXY TCP4 0.0.0.0 198.51.100.7 1 2\r\n",
        b"PROXY TCP6 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 ::ffff:127.0.0.1 2001:db8::1 1 2\r\n",
        b"PROXY TCP6 fe80::1 2001:db8::1 1 2\r\n",
        b"PROXY TCP4 224.0.0.1 198.51.100.7 1 2\r\n",
        b"PROXY TCP4 255.255.255.255 198.51.100.7 1 2\r\n",
        // This host's own, of its interface, and the broadcast address there.
        b"PROXY TCP4 203.0.113.2 198.51.100.7 1 2\r\n",
        b"PROXY TCP4 203.0.113.255 198.51.100.7 1 2\r\n",
        b"PROXY TCP6 2001:db8:f::2 2001:db8::1 1 2\r\n",
        b"PROXY TCP6 ::ffff:203.0.113.2 2001:db8::1 1 2\r\n",
        // Of datagrams.
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xa5\x3c\x01\xbb",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x07\xa5\x3c\x01\xbb\x03\0\x04\xaf\xe2\x20\x82",
        &oversized,
        &endless,
        // None within the deadline.
        b"",
        b"PROXY TCP4 192.0.2.1",
    ] {
        let mut edge = sender(&world, 2222);
        edge.write_all(bytes).unwrap();
        is_reset(&mut edge);
    }
    let mut edge = sender(&world, 2222);
    edge.write_all(b"PROXY TCP4 192.0.2.1").unwrap();
    edge.shutdown(Shutdown::Write).unwrap();
    is_reset(&mut edge);
    // The deadline is that of the whole header.
    let mut edge = sender(&world, 2222);
    let begun = Instant::now();
    let dripped = wait::eventually("the drip ends", || {
        wait::pause(Duration::from_millis(40));
        edge.write_all(b"1").err()
    });
    assert!(begun.elapsed() < Duration::from_secs(3), "{dripped}");
    // Somebody who is not the edge, whatever may follow: nobody reads it.
    for address in [at(ORIGIN, 2222), at(ORIGIN_V6, 2222)] {
        let mut stranger = world.origin().namespace().run(move || TcpStream::connect(address)).unwrap();
        stranger.set_read_timeout(Some(wait::DEADLINE)).unwrap();
        is_reset(&mut stranger);
    }
    for listener in [v4, v6] {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "the service was connected to");
    }
}

#[test]
fn senders_are_believed_by_prefixes_and_lists() {
    let world = World::new();
    let (v4, _v6, service) = service(&world);
    let header = b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n";
    for (port, from, believed) in [
        (2221, &["--from", "192.0.2.0/24,203.0.113.0/30"][..], true),
        (2222, &["--from", "192.0.2.0/24", "--from", "2001:db8:f::/64", "--from", "203.0.113.1/32"], true),
        (2223, &["--from", "192.0.2.0/24,203.0.113.2/31,2001:db8:f::/64"], false),
    ] {
        let mut command = Command::new(binary());
        command
            .args(["unwrap", "--listen", &format!("[::]:{port}"), "--to", &format!("127.0.0.1:{service}")])
            .args(from);
        let mut unwrap = Process::start(world.origin().namespace(), "unwrap", command);
        unwrap.await_line("-> 127.0.0.1");
        let mut edge = sender(&world, port);
        if believed {
            edge.write_all(header).unwrap();
            assert_eq!(peer(&v4).1.ip(), CLIENT);
        } else {
            is_reset(&mut edge);
        }
    }
}

#[test]
fn one_clients_port_is_live_twice() {
    let world = World::new();
    let (v4, _v6, service) = service(&world);
    let _unwrap = Unwrap::start(world.origin().namespace(), 2222, service, &[]);
    // By two edges, or two addresses of one: the ends differ there, and not here.
    let mut streams: Vec<_> = (0..2)
        .map(|_| {
            let mut edge = sender(&world, 2222);
            edge.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n").unwrap();
            (edge, peer(&v4))
        })
        .collect();
    assert_eq!(streams[0].1.1, SocketAddr::new(CLIENT, 40_000));
    assert_eq!(streams[1].1.1.ip(), CLIENT);
    assert_ne!(streams[1].1.1.port(), 40_000);
    for (number, (edge, (accepted, _))) in (0_u8..).zip(&mut streams) {
        edge.write_all(&[number]).unwrap();
        let mut byte = [9];
        accepted.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [number]);
    }
}

#[test]
fn a_client_of_a_family_without_a_service_is_reset() {
    let world = World::new();
    let namespace = world.origin().namespace();
    let (v4, _v6, service) = service(&world);
    let mut command = Command::new(binary());
    command.args(["unwrap", "--listen", "[::]:2222", "--from", EDGES, "--to", &format!("127.0.0.1:{service}")]);
    let mut unwrap = Process::start(namespace, "unwrap", command);
    unwrap.await_line("-> 127.0.0.1");
    let mut edge = sender(&world, 2222);
    edge.write_all(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n").unwrap();
    is_reset(&mut edge);
    unwrap.await_line("add --to 127.0.0.1:PORT or --to [::1]:PORT");
    v4.set_nonblocking(true).unwrap();
    assert!(v4.accept().is_err(), "the client was not hidden behind this host");
}

#[test]
fn more_connections_than_places_are_turned_away() {
    let world = World::new();
    let (v4, _v6, service) = service(&world);
    let _unwrap = Unwrap::start(world.origin().namespace(), 2222, service, &["--max-connections", "1"]);
    let mut first = sender(&world, 2222);
    first.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.10 40000 22\r\n").unwrap();
    let accepted = peer(&v4);
    let mut second = sender(&world, 2222);
    is_reset(&mut second);
    drop((first, accepted));
    wait::eventually("the place is free again", || {
        let mut third = sender(&world, 2222);
        third.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.10 40001 22\r\n").ok()?;
        v4.set_nonblocking(true).unwrap();
        wait::within(Duration::from_millis(200), || v4.accept().ok())
    });
}
