//! Who the origins are, how they share the work, and when they are dead.

use std::time::Duration;

use super::{
    refused::{Expected, refuses},
    *,
};
use crate::model::{
    AddressRecords, Balance, ConnectionLimits, DnsOrigin, DnsRecords, Exchange, HealthCheck, Keepalive, Origins,
    PortRange,
};

fn file(protocol: &str, lines: &str) -> String {
    format!(
        "{NODE}[[applications]]\nprotocol = \"{protocol}\"\ndns = {{ type = \"CNAME\", name = \"a.example.com\" }}\n{lines}\n"
    )
}

fn by_name(protocol: &str, lines: &str) -> DnsOrigin {
    match good(&file(protocol, lines)).applications.remove(0).origins {
        Origins::Dns(origin) => origin,
        Origins::Direct(origins) => panic!("{origins:?}"),
    }
}

const DIRECT: &str = "origin_direct = [\"tcp://192.0.2.1:22\"]";

#[test]
fn origins_by_name() {
    let ports = |first, last| PortRange::new(first, last).unwrap();
    let origin = by_name("tcp/22", "origin_dns = { name = \"SSH.Example.net\" }\norigin_port = 2222");
    assert_eq!(origin.name, "ssh.example.net");
    assert_eq!(origin.records, DnsRecords::Addresses(AddressRecords::Both, ports(2222, 2222)));
    assert_eq!(origin.ttl, Duration::from_mins(20));
    let origin = by_name(
        "tcp/1000-2000",
        "origin_dns = { name = \"o.example.net\", ttl = 600, type = \"AAAA\" }\norigin_port = \"3000-4000\"",
    );
    assert_eq!(origin.records, DnsRecords::Addresses(AddressRecords::Aaaa, ports(3000, 4000)));
    assert_eq!(origin.ttl, Duration::from_mins(10));
    let origin = by_name("tcp/5222", "origin_dns = { name = \"_xmpp-client._tcp.Example.com\", type = \"SRV\" }");
    assert_eq!((origin.name.as_str(), origin.records), ("_xmpp-client._tcp.example.com", DnsRecords::Srv));
}

#[test]
fn what_says_nothing_is_noted_and_kept() {
    let noted = |lines: &str| good(&file("tcp/22", lines)).notes.len();
    assert_eq!(noted(&format!("{DIRECT}\norigin_port = 22")), 1);
    assert_eq!(noted("origin_dns = { name = \"_ssh._tcp.example.com\", type = \"SRV\" }\norigin_port = 22"), 1);
}

#[test]
fn origins_by_name_that_are_refused() {
    let dns = "origin_dns = { name = \"o.example.net\" }";
    let cases: [(&str, String, Expected<'_>); 9] = [
        (
            "tcp/22",
            format!("{DIRECT}\n{}", dns.replace("= {", "= ▶{")),
            (11000, "an application has `origin_direct` or `origin_dns`, not both", "remove one of them"),
        ),
        (
            "tcp/22",
            dns.to_owned(),
            (
                11001,
                "`origin_dns` needs the port of the origin",
                "write origin_port = 22, or type = \"SRV\" where the records say it",
            ),
        ),
        (
            "tcp/22",
            format!("{dns}\norigin_port = ▶0"),
            (
                11001,
                "`origin_port` is a port or a range of ports from 1 to 65535",
                "write origin_port = 22 or origin_port = \"3000-4000\"",
            ),
        ),
        (
            "tcp/22",
            format!("{dns}\norigin_port = ▶\"22\""),
            (
                11001,
                "`origin_port` is a port or a range of ports from 1 to 65535",
                "write origin_port = 22 or origin_port = \"3000-4000\"",
            ),
        ),
        (
            "tcp/1000-2000",
            format!("{dns}\norigin_port = ▶\"3000-3999\""),
            (
                11001,
                "`tcp/1000-2000` has 1001 ports, `origin_port` has 1000 ports",
                "write origin_port = \"3000-4000\"",
            ),
        ),
        (
            "tcp/22",
            "origin_dns = { name = ▶\"192.0.2.1\" }\norigin_port = 22".to_owned(),
            (11001, "`192.0.2.1` is not a hostname: it is an address", "write a name such as ssh.example.com"),
        ),
        (
            "tcp/22",
            "origin_dns = { name = \"o.example.net\", ttl = ▶599 }\norigin_port = 22".to_owned(),
            (0, "`ttl` is a whole number from 600 to 604800", "write ttl = 600"),
        ),
        (
            "tcp/22",
            "origin_dns = { name = \"o.example.net\", type = ▶\"MX\" }\norigin_port = 22".to_owned(),
            (0, "`MX` is not a value of `type`", "write one of ``, `A`, `AAAA`, `SRV`"),
        ),
        (
            "tcp/22",
            "origin_dns = { name = ▶\"_ssh._tcp.example.com\" }\norigin_port = 22".to_owned(),
            (11001, "`_ssh._tcp.example.com` is not a hostname: it holds `_`", "use letters, digits, `-` and dots"),
        ),
    ];
    for (protocol, lines, expected) in cases {
        let text = file(protocol, &lines);
        // What has no place of its own is said of the application.
        let text = if text.contains('▶') { text } else { text.replace("[[app", "▶[[app") };
        refuses(&text, &[expected]);
    }
    refuses(
        &file("tcp/22-23", "origin_dns = { name = \"_ssh._tcp.example.com\", type = \"SRV\" }")
            .replace("[[app", "▶[[app"),
        &[(
            11001,
            "`tcp/22-23` has 2 ports, an SRV record has one",
            "write a protocol of one port, or another type with origin_port",
        )],
    );
}

fn extended(lines: &str) -> Declared {
    let file = file("tcp/22", &format!("{DIRECT}\n[applications.extensions]\n{lines}"));
    good(&file).applications.remove(0)
}

#[test]
fn how_origins_share_the_work_and_when_they_are_dead() {
    let app = extended("");
    assert_eq!((app.balance, app.health_check, app.limits), (Balance::RoundRobin, None, ConnectionLimits::default()));
    for (word, balance) in [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("random", Balance::Random),
        ("source_hash", Balance::SourceHash),
    ] {
        assert_eq!(extended(&format!("balance = \"{word}\"")).balance, balance);
    }
    let seconds = Duration::from_secs;
    let check = HealthCheck {
        tls: false,
        exchange: None,
        port: None,
        interval: seconds(10),
        timeout: seconds(2),
        rise: 2,
        fall: 3,
    };
    assert_eq!(extended("health_check = { type = \"tcp\" }").health_check, Some(check.clone()));
    let asked = "health_check = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\", rise = 1, fall = 5, port = 81, \
                 send = \"PING\\r\\n\", expect = \"+PONG\" }";
    let exchange = Exchange { send: b"PING\r\n".to_vec(), expect: b"+PONG".to_vec() };
    let expected = HealthCheck {
        tls: false,
        exchange: Some(exchange),
        port: Some(81),
        interval: seconds(1),
        timeout: Duration::from_millis(500),
        rise: 1,
        fall: 5,
    };
    assert_eq!(extended(asked).health_check, Some(expected));
    assert_eq!(
        extended("health_check = { type = \"tcp\", interval = \"1s\" }").health_check.unwrap().timeout,
        seconds(1)
    );
    assert!(extended("health_check = { type = \"tls\" }").health_check.unwrap().tls);
    let app = extended("max_connections = 1000\nmax_connections_per_ip = 10");
    assert_eq!(app.limits, ConnectionLimits { all: Some(1000), per_client: Some(10) });
    let timeouts = extended(
        "keepalive_idle = \"30s\"\nkeepalive_interval = \"5s\"\nkeepalive_count = 3\nuser_timeout = \"20s\"\nidle_timeout = \"1h\"",
    )
    .timeouts;
    assert_eq!(timeouts.keepalive, Keepalive { idle: seconds(30), interval: seconds(5), count: 3 });
    assert_eq!((timeouts.user, timeouts.idle, timeouts.connect), (seconds(20), Some(seconds(3600)), seconds(5)));
}

#[test]
fn health_checks_limits_and_timeouts_that_are_refused() {
    let cases: [(&str, Expected<'_>); 9] = [
        (
            "balance = ▶\"fair\"",
            (
                0,
                "`fair` is not a value of `balance`",
                "write one of `round_robin`, `least_connections`, `random`, `source_hash`",
            ),
        ),
        ("health_check = ▶{}", (0, "missing key `type` in health_check", "write type = \"tcp\"")),
        (
            "health_check = { type = ▶\"udp\" }",
            (0, "type = \"udp\" is not built yet", "write \"tcp\", with `send` and `expect` where it talks"),
        ),
        (
            "health_check = { type = \"tcp\", interval = \"1s\", timeout = ▶\"2s\" }",
            (0, "a check may not last longer than the interval between two", "write \"1s\" or less"),
        ),
        (
            "health_check = { type = \"tcp\", send = ▶\"PING\" }",
            (
                0,
                "`send` without `expect` says nothing of the answer",
                "write expect = \"…\", what the answer holds, or remove `send`",
            ),
        ),
        (
            "health_check = { type = \"tcp\", rise = ▶0 }",
            (0, "`rise` is a whole number from 1 to 100", "write rise = 1"),
        ),
        (
            "max_connections = 5\nmax_connections_per_ip = ▶6",
            (
                0,
                "one client may have 6 connections, and all together only 5",
                "write 5 or less, or a higher `max_connections`",
            ),
        ),
        ("keepalive_idle = ▶\"1500ms\"", (0, "`1500ms` is not a number of whole seconds", "write \"60s\" or \"1m\"")),
        (
            "max_connections = ▶0",
            (0, "`max_connections` is a whole number from 1 to 1000000", "write max_connections = 1"),
        ),
    ];
    for (lines, expected) in cases {
        refuses(&file("tcp/22", &format!("{DIRECT}\n[applications.extensions]\n{lines}")), &[expected]);
    }
}

#[test]
fn sources_of_connections_to_origins() {
    let node = format!("{NODE}source_addresses = [\"192.0.2.7\", \"2001:db8::7\"]\nsource_ports = \"20000-29999\"\n");
    let sources = good(&node).node.sources;
    assert_eq!(sources.addresses.len(), 2);
    assert_eq!(sources.ports, Some(PortRange::new(20000, 29999).unwrap()));
    refuses(
        &format!("{NODE}source_addresses = [▶\"224.0.0.1\"]\nsource_ports = ▶\"20000\"\n"),
        &[
            (0, "224.0.0.1 cannot be a source: it is a multicast address", "write an address of this host"),
            (0, "`20000` is not a range of ports from 1 to 65535", "write \"20000-60999\""),
        ],
    );
    let own = ["192.0.2.7".parse().unwrap()];
    let errors = read(&node, "spectrum.toml", Some(&own)).expect_err("one of them is no address of the host");
    assert_eq!(errors.as_slice()[0].message, "2001:db8::7 is not an address of this host");
}
