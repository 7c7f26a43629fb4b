//! The control socket against whoever may open it: what is wrong is said, nothing is done by half, and nobody who says
//! nothing keeps others waiting.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use spectrum_tests::{
    World, config, wait,
    world::{EDGE, EDGE_V6, SHUNNED, client::Knock, config::Config, edge::Daemon},
};

const SOCKET: &str = "/run/spectrum/default.sock";

fn node(origin: impl std::fmt::Display) -> Config {
    config().app("tcp/443").on(&[EDGE, EDGE_V6]).origin(origin).ip_firewall().block("192.0.2.99")
}

fn connect(world: &World) -> UnixStream {
    let stream = world.edge().namespace().run(|| UnixStream::connect(SOCKET)).unwrap();
    stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    stream.set_write_timeout(Some(wait::DEADLINE)).unwrap();
    stream
}

/// What comes back until the connection ends, however it ends.
fn answer(mut stream: UnixStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&text)),
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: spectrum\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Status and body of the answer to a rule.
fn create(world: &World, rule: &Value) -> (u16, String) {
    let mut stream = connect(world);
    stream.write_all(&post("/rules", rule.to_string().as_bytes())).unwrap();
    let text = answer(stream);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn rule(target: &str, value: &str) -> Value {
    json!({ "mode": "block", "configuration": { "target": target, "value": value } })
}

/// As `rule`, with this key of it.
fn with(target: &str, value: &str, key: &str, other: Value) -> Value {
    let mut rule = rule(target, value);
    rule[key] = other;
    rule
}

fn state(world: &World, edge: &Daemon<'_>) -> (String, Value) {
    (world.edge().spectrum_ok(&["--output", "json", "rule", "list"]), edge.status()["kernel"]["revision"].clone())
}

#[test]
fn a_rule_that_means_nothing_is_refused_in_words_and_changes_nothing() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()));
    let before = state(&world, &edge);
    let mut wrong = Vec::new();
    let nested = (0..200).fold(json!(1), |inner, _| json!([inner]));
    for (rule, word) in [
        (json!(null), "rule object"),
        (json!([]), "rule object"),
        (json!("block"), "rule object"),
        (json!({}), "mode"),
        (json!({ "mode": null, "configuration": null }), "mode"),
        (json!({ "mode": "block" }), "configuration"),
        (json!({ "mode": "block", "configuration": {} }), "target"),
        (json!({ "mode": "block", "configuration": { "target": "ip", "value": null } }), "value"),
        (json!({ "mode": "block", "configuration": { "target": null, "value": "192.0.2.1" } }), "target"),
        (json!({ "mode": "block", "configuration": { "target": "ip", "value": 7 } }), "value"),
        (json!({ "mode": ["block"], "configuration": { "target": "ip", "value": "192.0.2.1" } }), "mode"),
        (rule("ip", ""), "address"),
        (rule("ip", "192.0.2.1\u{0}"), "address"),
        (rule("ip", "::ffff:192.0.2.1"), "write 192.0.2.1"),
        (rule("ip6", "::ffff:192.0.2.1"), "write 192.0.2.1"),
        (rule("ip_range", "::ffff:192.0.2.0/120"), "write it as IPv4"),
        (rule("ip", "192.0.2.0/24"), "ip_range"),
        (rule("ip_range", "192.0.2.0/33"), "192.0.2.0/33"),
        (rule("asn", "AS64500"), "[geo]"),
        (rule("country", "DE"), "[geo]"),
        (rule("planet", "DE"), "planet"),
        (with("ip", "192.0.2.1", "colour", json!(1)), "colour"),
        (with("ip", "192.0.2.1", "mode", json!("allow")), "whitelist"),
        (with("ip", "192.0.2.1", "simulate", json!("yes")), "simulate"),
        (with("ip", "192.0.2.1", "zone", json!("nowhere\u{1b}[31m")), "zone"),
        (with("ip", "192.0.2.1", "notes", json!(7)), "notes"),
        (with("ip", "192.0.2.1", "notes", json!("x".repeat(1001))), "1000"),
        (with("ip", "192.0.2.1", "notes", nested), "notes"),
        (with("ip", "192.0.2.1", "notes", json!([null])), "rule object"),
        (with("ip", "192.0.2.1", "id", json!("../../etc")), "id"),
        (with("ip", "192.0.2.1", "expires_on", json!("2001-01-01T00:00:00Z")), "has been already"),
        (with("ip", "192.0.2.1", "expires_on", json!("0000-00-00T00:00:00Z")), "moment"),
        (with("ip", "192.0.2.1", "expires_on", json!("10000-01-01T00:00:00Z")), "moment"),
        (with("ip", "192.0.2.1", "expires_on", json!("2030-06-31T00:00:00Z")), "moment"),
        (with("ip", "192.0.2.1", "expires_on", json!(u64::MAX)), "expires_on"),
        (with("ip", "192.0.2.1", "extensions", json!({ "force": 1 })), "extensions"),
        (with("ip", "192.0.2.1", "extensions", json!({ "colour": 1 })), "extensions"),
        (with("ip", "192.0.2.1", "extensions", json!({ "operator": ["nobody"] })), "extensions"),
        (with("ip", "192.0.2.1", "extensions", json!({ "operator": vec!["192.0.2.1"; 1000] })), "operator"),
    ] {
        let (status, body) = create(&world, &rule);
        if !(400..500).contains(&status) || !body.contains(word) || body.contains('\u{1b}') {
            wrong.push(format!("{rule}: {status} {body}, where {word} is expected"));
        }
    }
    for (raw, status) in [
        (post("/rules", b""), "400"),
        (post("/rules", b"{"), "400"),
        (post("/rules", b"\xff\xfe"), "400"),
        (post("/rules", "[".repeat(100_000).as_bytes()), "400"),
        (post("/rules", &vec![b' '; 2 << 20]), "413"),
        (post("/rules/x", b"{}"), "405"),
        (post("/", b"{}"), "404"),
        (post("/reload", b"{\"force\": 3}"), "422"),
        (b"POST /rules HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}".to_vec(), "415"),
        (b"DELETE /rules/zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), "400"),
        (format!("GET /rules?value={} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(200_000)).into_bytes(), "4"),
        (format!("GET /status HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(50_000)).into_bytes(), "431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all\r\n\r\n".to_vec(), "400"),
    ] {
        let mut stream = connect(&world);
        // It may have enough before it has everything.
        let _ = stream.write_all(&raw);
        let text = answer(stream);
        let start = String::from_utf8_lossy(&raw[..raw.len().min(60)]).into_owned();
        if !text.starts_with(&format!("HTTP/1.1 {status}")) {
            wrong.push(format!("{start}: {text:?}, where {status} is expected"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(state(&world, &edge), before);
    assert!(edge.process().ended().is_none());
}

#[test]
fn odd_rules_that_mean_something_are_made_and_shown_in_one_form() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()));
    let odd = "a \"note\"\t\u{0}\u{1b}[31m\u{202e}\u{feff}\n\u{1f9a6} = [[x]]";
    for (rule, value) in [
        (with("ip", "192.0.2.66", "notes", json!(odd)), "192.0.2.66"),
        (rule("ip_range", "192.0.2.77/26"), "192.0.2.64/26"),
        (rule("ip_range", "2001:DB8:0::77/64"), "2001:db8::/64"),
        (with("ip", "192.0.2.3", "expires_on", json!("9999-12-31T23:59:59Z")), "192.0.2.3"),
        (with("ip", "192.0.2.4", "notes", json!(null)), "192.0.2.4"),
        (with("ip", "192.0.2.5", "notes", json!("\u{1f9a6}".repeat(1000))), "192.0.2.5"),
    ] {
        let (status, body) = create(&world, &rule);
        assert_eq!(status, 200, "{rule}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["rules"][0]["configuration"]["value"], value);
    }
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    let list = world.edge().spectrum_ok(&["rule", "list"]);
    let why = world.edge().spectrum_ok(&["why", &SHUNNED.to_string(), "--to", &edge.at(443).to_string()]);
    for text in [&list, &why, &edge.process().printed()] {
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(control), "{text:?}");
    }
    let before = world.edge().spectrum_ok(&["--output", "json", "rule", "get", "192.0.2.66"]);
    let shown: Value = serde_json::from_str(&before).unwrap();
    assert_eq!(shown["notes"], odd);
    edge.kill();
    let edge = world.edge().run(node(origin.addr()));
    assert_eq!(world.edge().spectrum_ok(&["--output", "json", "rule", "get", "192.0.2.66"]), before, "kept as it was");
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
}

#[test]
fn who_says_nothing_or_half_or_a_byte_a_second_is_ended_and_keeps_nobody_waiting() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()));
    let before = state(&world, &edge);
    let whole = post("/rules", rule("ip", "192.0.2.1").to_string().as_bytes());
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for length in [0, 10, whole.len() - 5] {
        for _ in 0..10 {
            let mut stream = connect(&world);
            stream.write_all(&whole[..length]).unwrap();
            waiting.push(stream);
        }
    }
    let mut slow = connect(&world);
    let dripping = thread::spawn(move || {
        let bytes = b"GET /status HTTP/1.1\r\nhost: a-host-that-takes-its-time\r\n\r\n";
        bytes
            .iter()
            .take_while(|byte| {
                wait::pause(Duration::from_secs(1));
                slow.write_all(&[**byte]).is_ok()
            })
            .count()
    });
    // Half a request, and gone.
    for length in [1, whole.len() / 2, whole.len() - 1] {
        let mut stream = connect(&world);
        stream.write_all(&whole[..length]).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    assert_eq!(state(&world, &edge), before, "others are served meanwhile");
    for stream in waiting {
        let text = answer(stream);
        assert!(text.is_empty() || text.contains(" 408 "), "{text}");
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(18), "{took:?}");
    assert!(dripping.join().unwrap() < 20, "who takes too long is not waited for");

    // More than there are places: they are told, and the daemon has descriptors for its clients.
    let crowd: Vec<UnixStream> = (0..200).map(|_| connect(&world)).collect();
    let is_told = |mut stream: &UnixStream| {
        stream.set_nonblocking(true).unwrap();
        let mut text = [0; 12];
        stream.read(&mut text).is_ok_and(|read| &text[..read] == b"HTTP/1.1 503")
    };
    let mut refused = 0;
    wait::eventually("those without a place are told", || {
        refused += crowd.iter().filter(|stream| is_told(stream)).count();
        (refused >= 200 - 64).then_some(())
    });
    assert_eq!(refused, 200 - 64, "as many as there are places have one");
    assert_eq!(world.client().ask(edge.at(443), b"hi"), b"hi");
    drop(crowd);
    wait::eventually("there is room again", || world.edge().spectrum(&["rule", "list"]).status.success().then_some(()));
    assert_eq!(state(&world, &edge), before);
    assert!(edge.process().ended().is_none());
}

#[test]
fn thousands_of_creates_by_several_clients_at_once_are_each_done_once() {
    const CLIENTS: usize = 8;
    const EACH: usize = 150;
    let world = World::new();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr()));
    create(&world, &rule("ip", "203.0.113.1"));
    let memory = edge.memory_kib("Rss");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            world.edge().namespace().spawn(move || {
                let made = (0..EACH).filter(|turn| {
                    // Half of them are everybody's: one client gets each.
                    let whose = if turn % 2 == 0 { client } else { 0 };
                    let value = format!("10.{whose}.{}.{}", turn / 250, turn % 250);
                    let mut stream = UnixStream::connect(SOCKET).unwrap();
                    stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
                    stream.write_all(&post("/rules", rule("ip", &value).to_string().as_bytes())).unwrap();
                    let text = answer(stream);
                    let made = text.starts_with("HTTP/1.1 200");
                    assert!(made || text.starts_with("HTTP/1.1 409") && text.contains("10009"), "{text}");
                    made
                });
                made.count()
            })
        })
        .collect();
    let made: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(made, CLIENTS * EACH / 2 + EACH / 2);
    let status = edge.status();
    assert_eq!(status["daemon"]["rules"]["operator"], made + 1);
    assert_eq!(status["kernel"]["entries"]["rules_v4"], made + 2, "with the file's");
    assert!(edge.memory_kib("Rss") < memory + 16 * 1024, "{} KiB more", edge.memory_kib("Rss") - memory);
    assert!(edge.terminate().success());
    let edge = world.edge().run(node(origin.addr()));
    assert_eq!(edge.status()["daemon"]["rules"]["operator"], made + 1, "all of them were kept");
}

#[test]
fn one_rule_more_than_there_is_room_for_is_refused() {
    let world = World::new();
    let origin = world.origin().echo();
    let mut app = node(origin.addr());
    // The file's own rule is one of them.
    for i in 0..65_533 {
        app = app.block(&format!("10.{}.{}.1", i / 256, i % 256));
    }
    let edge = world.edge().start(app);
    // Longer than other starts: it is the largest file that there can be.
    world.edge().spectrum_ok(&["status", "--wait", "90s"]);
    assert_eq!(create(&world, &rule("ip", "192.0.2.66")).0, 200, "the last that fits");
    let before = edge.status()["kernel"]["revision"].clone();
    let (status, body) = create(&world, &rule("ip", "192.0.2.67"));
    assert_eq!(status, 409, "{body}");
    assert!(body.contains("65535"), "{body}");
    assert_eq!(edge.status()["kernel"]["revision"], before);
    assert_eq!(world.client().knock_from(SHUNNED, edge.at(443)), Knock::Silence);
    world.edge().spectrum_ok(&["rule", "delete", "192.0.2.66"]);
    assert_eq!(create(&world, &rule("ip", "192.0.2.67")).0, 200, "there is room again");
}
