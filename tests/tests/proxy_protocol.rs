//! What real origins make of the header that names the client.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    process::Command,
};

use spectrum_tests::{
    World, config, wait,
    world::{CLIENT, CLIENT_V6, EDGE, EDGE_V6, ORIGIN, config::Config, edge::at, process::Process, told::MAILBOX},
};

const EVENTS: &str = "[events]\nfile = \"/mnt/events.jsonl\"\n";
const ALL_FIELDS: &str = "[\"unique_id\", \"crc32c\", \"authority\"]";

/// `tcp/PORT` on both families to an origin that is told by this version.
fn told(port: u16, origin: SocketAddr, version: &str) -> Config {
    let app = config().app(&format!("tcp/{port}")).on(&[EDGE, EDGE_V6]).origin(origin);
    app.line(&format!("proxy_protocol = \"{version}\"")).raw(EVENTS)
}

fn first_event(world: &World) -> serde_json::Value {
    let line = wait::eventually("an event is written", || {
        let text = world.edge().namespace().run(|| std::fs::read_to_string("/mnt/events.jsonl")).ok()?;
        text.lines().next().map(str::to_owned)
    });
    serde_json::from_str(&line).unwrap()
}

/// What a server answers to this one of the client's addresses.
fn page(world: &World, client: IpAddr, address: SocketAddr) -> String {
    let (client, url) = (client.to_string(), format!("http://{address}/"));
    let arguments = ["--silent", "--show-error", "--fail", "--max-time", "20", "--interface", &client, &url];
    world.client().stdout("curl", &arguments)
}

#[test]
fn haproxy_sees_the_client_and_the_fields() {
    let world = World::new();
    let haproxy = world.origin().haproxy_told();
    for version in ["v1", "v2"] {
        let edge = world.edge().run(told(80, haproxy.addr(), version));
        for (address, client) in [(edge.at(80), CLIENT), (edge.at_v6(80), CLIENT_V6)] {
            let page = page(&world, client, address);
            let words: Vec<_> = page.split(' ').collect();
            assert_eq!((words[0], words[2], words[3]), (&*client.to_string(), &*address.ip().to_string(), "80"));
        }
    }
    world.edge().namespace().run(|| std::fs::remove_file("/mnt/events.jsonl")).unwrap();
    let edge = world.edge().run(told(80, haproxy.addr(), "v2").extension("proxy_tlvs", ALL_FIELDS));
    let page = page(&world, CLIENT, edge.at(80));
    let event = first_event(&world);
    let id = event["extensions"]["unique_id"].as_str().unwrap();
    assert_eq!((id.len(), &event["ProxyProtocol"]), (32, &"v2".into()));
    let port = &event["ClientPort"];
    assert_eq!(page, format!("{CLIENT} {port} {EDGE} 80 id={id} authority=app1.example.com\n"));
}

#[test]
fn nginx_sees_the_client() {
    let world = World::new();
    let nginx = world.origin().nginx_told();
    for version in ["v1", "v2"] {
        let edge = world.edge().run(told(80, nginx.addr_v6(), version));
        for (address, client) in [(edge.at(80), CLIENT), (edge.at_v6(80), CLIENT_V6)] {
            let page = page(&world, client, address);
            let words: Vec<_> = page.split(' ').collect();
            assert_eq!((words[0], words[2], words[3]), (&*client.to_string(), &*address.ip().to_string(), "80\n"));
        }
    }
}

/// Reads the greeting and says goodbye.
fn greet(mut stream: TcpStream, greeting: &str, goodbye: &str) {
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(greeting), "{line}");
    stream.write_all(goodbye.as_bytes()).unwrap();
    drop(stream.read_to_end(&mut Vec::new()));
}

#[test]
fn postfix_logs_the_client_and_without_a_header_the_edge() {
    let world = World::new();
    let mut postfix = world.origin().postfix();
    let origin = postfix.addr();
    for version in ["v1", "v2"] {
        let edge = world.edge().run(told(25, origin, version));
        greet(world.client().connect(edge.at(25)).unwrap(), "220 mx.example.com", "QUIT\r\n");
        postfix.process().await_line(&format!(" connect from unknown[{CLIENT}]"));
        greet(world.client().connect_from(CLIENT_V6, edge.at_v6(25)).unwrap(), "220 mx.example.com", "QUIT\r\n");
        postfix.process().await_line(&format!(" connect from unknown[{CLIENT_V6}]"));
        postfix.process().forget();
    }
    let edge = world.edge().run(told(25, at(ORIGIN, 26), "off"));
    greet(world.client().connect(edge.at(25)).unwrap(), "220 mx.example.com", "QUIT\r\n");
    postfix.process().await_line(" connect from unknown[203.0.113.1]");
}

#[test]
fn mail_is_delivered_and_says_whom_postfix_saw() {
    let world = World::new();
    let postfix = world.origin().postfix();
    let edge_there = IpAddr::from([203, 0, 113, 1]);
    for (version, origin, client, seen) in [
        ("v1", postfix.addr(), CLIENT, CLIENT),
        ("v2", postfix.addr(), CLIENT_V6, CLIENT_V6),
        ("off", at(ORIGIN, 26), CLIENT, edge_there),
    ] {
        let edge = world.edge().run(told(25, origin, version));
        let subject = format!("Subject: by {version}\r\n");
        let mail = format!("From: a@example.org\r\n{subject}\r\nhello\r\n");
        let mail = world.client().namespace().write("mail", mail);
        let url = format!("smtp://{}", if client.is_ipv4() { edge.at(25) } else { edge.at_v6(25) });
        let mut arguments =
            vec!["--silent", "--show-error", "--max-time", "20", "--upload-file", mail.to_str().unwrap()];
        let client = client.to_string();
        arguments.extend([
            "--interface",
            &client,
            "--mail-from",
            "a@example.org",
            "--mail-rcpt",
            "box@example.com",
            &url,
        ]);
        world.client().stdout("curl", &arguments);
        let mailbox = wait::eventually("the mail is delivered", || {
            let text = world.origin().namespace().run(|| std::fs::read_to_string(MAILBOX)).ok()?;
            text.contains(subject.trim_end()).then_some(text)
        });
        let (_, mail) = mailbox.rsplit_once("Received: from").unwrap();
        let named = if seen.is_ipv4() { format!("[{seen}]") } else { format!("[IPv6:{seen}]") };
        assert!(mail.contains(&format!("(unknown {named})")), "{mail}");
    }
}

#[test]
fn dovecot_logs_the_client() {
    let world = World::new();
    let mut dovecot = world.origin().dovecot();
    for version in ["v1", "v2"] {
        let edge = world.edge().run(told(143, dovecot.addr(), version));
        for (address, client) in [(edge.at(143), CLIENT), (edge.at_v6(143), CLIENT_V6)] {
            greet(world.client().connect_from(client, address).unwrap(), "* OK ", "a LOGOUT\r\n");
            dovecot.process().await_line(&format!("rip={client}, lip={}", address.ip()));
        }
        dovecot.process().forget();
    }
}

/// Payloads of what the edge sends to this port of the origin, one for each segment, as tcpdump sees them.
fn segments(tcpdump: &mut Process) -> Vec<usize> {
    let lengths = tcpdump.printed();
    let length = |line: &str| line.rsplit_once("length ")?.1.split(':').next()?.trim().parse().ok();
    lengths.lines().filter(|line| line.contains("Flags")).filter_map(length).filter(|length| *length > 0).collect()
}

#[test]
fn the_header_is_the_first_segment_alone_and_whole() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    for (version, fields, length) in
        [("v1", "[]", None), ("v2", "[]", Some(28)), ("v2", ALL_FIELDS, Some(28 + 19 + 35 + 7))]
    {
        let edge = world.edge().run(told(80, origin, version).extension("proxy_tlvs", fields));
        let mut tcpdump = Command::new("tcpdump");
        let filter = format!("tcp dst port {}", origin.port());
        tcpdump.args(["-i", "eth0", "-n", "-l", "--immediate-mode", &filter]);
        let mut tcpdump = Process::start(world.origin().namespace(), "tcpdump", tcpdump);
        tcpdump.await_line("listening on");
        // The client speaks first and at once: its bytes wait in the edge before the origin is dialled.
        let mut client = world.client().connect(edge.at(80)).unwrap();
        client.write_all(&[b'x'; 1000]).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let expected = match length {
            Some(length) => length,
            None => format!("PROXY TCP4 {CLIENT} {EDGE} {} 80\r\n", client.local_addr().unwrap().port()).len(),
        };
        let mut bytes = vec![0; expected + 1000];
        accepted.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes[expected..], [b'x'; 1000]);
        let seen = wait::eventually("tcpdump shows both segments", || {
            let seen = segments(&mut tcpdump);
            (seen.iter().sum::<usize>() == expected + 1000).then_some(seen)
        });
        assert_eq!(seen[0], expected, "{seen:?}");
    }
}

#[test]
fn a_reload_changes_the_header_of_new_connections_alone() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    let mut edge = world.edge().run(told(80, origin, "off"));
    let mut old = world.client().connect(edge.at(80)).unwrap();
    let (mut old_accepted, _) = listener.accept().unwrap();
    edge.reload(told(80, origin, "v1"));
    let mut new = world.client().connect(edge.at(80)).unwrap();
    let (new_accepted, _) = listener.accept().unwrap();
    new.write_all(b"new\n").unwrap();
    let mut lines = BufReader::new(new_accepted).lines();
    let header = format!("PROXY TCP4 {CLIENT} {EDGE} {} 80", new.local_addr().unwrap().port());
    assert_eq!(lines.next().unwrap().unwrap(), header);
    assert_eq!(lines.next().unwrap().unwrap(), "new");
    old.write_all(b"old").unwrap();
    let mut bytes = [0; 3];
    old_accepted.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"old");
}

#[test]
fn an_origin_that_resets_what_it_accepts_is_an_event() {
    let world = World::new();
    let (listener, origin) = world.origin().listen();
    let edge = world.edge().run(told(80, origin, "v2"));
    let mut client = world.client().connect(edge.at(80)).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    socket2::SockRef::from(&accepted).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(accepted);
    assert!(client.read(&mut [0]).is_err(), "a reset is passed on");
    assert_eq!(first_event(&world)["ProxyProtocol"], "v2");
}
