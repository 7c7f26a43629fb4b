//! Values that are refused, each with its place (marked with `▶`), its code, its message and what to do about it.

use super::*;

/// Expected: code (0: none), message, help.
pub(super) type Expected<'e> = (u16, &'e str, &'e str);

/// The text without its marks is refused with exactly these errors, at exactly the marks.
pub(super) fn refuses(marked: &str, expected: &[Expected<'_>]) {
    let text = marked.replace('▶', "");
    compare(marked, &bad(&text), expected);
}

fn compare(marked: &str, errors: &ConfigErrors, expected: &[Expected<'_>]) {
    let marks = marked.split('\n').zip(1..).flat_map(|(line, number)| {
        let columns = line.match_indices('▶').map(|(at, _)| line[..at].chars().filter(|c| *c != '▶').count() + 1);
        columns.map(move |column| (number, column)).collect::<Vec<_>>()
    });
    let expected: Vec<_> = marks.zip(expected).map(|(place, expected)| (place, *expected)).collect();
    let found: Vec<_> = errors
        .as_slice()
        .iter()
        .map(|found| {
            let place = (found.line.unwrap_or_default(), found.column.unwrap_or_default());
            (place, (found.code.unwrap_or_default(), found.message.as_str(), found.help.as_deref().unwrap_or_default()))
        })
        .collect();
    assert_eq!(found, expected, "\n{marked}\n{errors}");
}

/// One application; the given lines stand in place of those with the same key, or after them.
fn app(lines: &[&str]) -> String {
    let key = |line: &str| line.replace('▶', "").split(['.', ' ']).next().unwrap_or_default().to_owned();
    let base = [
        "protocol = \"tcp/22\"",
        "dns = { type = \"CNAME\", name = \"a.example.com\" }",
        "origin_direct = [\"tcp://192.0.2.1:22\"]",
    ];
    let kept = base.into_iter().filter(|base| !lines.iter().any(|line| key(line) == key(base)));
    let all: Vec<_> = ["[[applications]]"].into_iter().chain(kept).chain(lines.iter().copied()).collect();
    format!("{}\n", all.join("\n"))
}

fn rule(lines: &str) -> String {
    format!("{NODE}[[access_rules]]\n{lines}\n")
}

#[test]
fn node() {
    let interfaces = "write interfaces = [\"eth0\"], or xdp_mode = \"off\" to run without the shield";
    let not_name = "write one of those that `ip link` shows: 1 to 15 characters, no spaces, `/` or `:`";
    refuses(
        "▶",
        &[(
            0,
            "missing key `node` in the file",
            "write node = { interfaces = [\"eth0\"] }, or a table [node] with that key",
        )],
    );
    refuses("▶[node]", &[(0, "missing key `interfaces` in [node]", interfaces)]);
    refuses("[node]\ninterfaces = ▶[]", &[(0, "XDP has no interface to be attached to", interfaces)]);
    refuses(
        "[node]\ninterfaces = ▶\"eth0\"",
        &[(0, "`interfaces` is a list, not a string", "write interfaces = [\"eth0\"]")],
    );
    refuses(
        "[node]\ninterfaces = [\"eth0\", ▶\"eth0\", ▶\"eth 1\", ▶7]",
        &[
            (0, "`eth0` is listed twice", "remove one"),
            (0, "`eth 1` is not the name of an interface", not_name),
            (0, "`interfaces[3]` is a string, not an integer", "put it in quotes"),
        ],
    );
    refuses(
        &format!("{NODE}workers = ▶-1\ndrain = ▶5\nstate_dir = ▶\"state\"\ninstance = ▶\"a/b\""),
        &[
            (0, "`workers` is a whole number from 0 to 1024", "write workers = 0"),
            (0, "`drain` is a string, not an integer", "put it in quotes"),
            (0, "`state` is not an absolute path", "write it from `/` on: a service does not start in your directory"),
            (0, "`a/b` cannot name an instance", "write 1 to 32 letters, digits, `-` or `_`"),
        ],
    );
    refuses(
        &format!("{NODE}drain = ▶\"30\"\n▶existing_connections = \"keep\"\nudp_fragments = ▶\"keep\"\n▶xdpmode = 1"),
        &[
            (0, "`30` is not a duration", "write a number and its unit: \"500ms\", \"5s\", \"2m\""),
            (0, "`existing_connections` is not built yet", "remove it"),
            (0, "`keep` is not a value of `udp_fragments`", "write one of `drop`, `pass`"),
            (0, "unknown key `xdpmode` in [node]", "did you mean `xdp_mode`?"),
        ],
    );
    refuses(
        "▶node = 1".replace('▶', "").replace("= ", "= ▶").as_str(),
        &[(0, "`node` is a table, not an integer", "write [node], or node = { … }")],
    );
}

#[test]
fn api_metrics_and_events() {
    let socket = "write listen = [\"unix:/run/spectrum/default.sock\"], or remove the key";
    refuses(
        &format!("{NODE}[api]\nlisten = ▶[]"),
        &[(0, "`spectrum status` and the other commands need a control socket", socket)],
    );
    refuses(
        &format!(
            "{NODE}[api]\nlisten = [▶\"127.0.0.1:8787\", ▶\"/run/x.sock\", ▶\"unix:x\", ▶\"unix:/{}\"]\n▶token_file = \"/t\"",
            "x".repeat(107)
        ),
        &[
            (0, "the API over TCP is not built yet", "write \"unix:/run/spectrum/default.sock\""),
            (
                0,
                "`/run/x.sock` is nothing to listen on",
                "write \"unix:\" and an absolute path: \"unix:/run/spectrum/default.sock\"",
            ),
            (0, "`x` is not an absolute path", "write it from `/` on: a service does not start in your directory"),
            (0, "the path of a unix socket has at most 107 bytes", "write a shorter one"),
            (
                0,
                "`token_file` is not built yet",
                "the API listens on its unix socket only, where file permissions decide",
            ),
        ],
    );
    let listen = "write \"127.0.0.1:9464\" or \"[::1]:9464\"";
    refuses(
        &format!("{NODE}▶[metrics]\n[events]\nfile = ▶\"x\""),
        &[
            (0, "missing key `listen` in [metrics]", "write listen = \"127.0.0.1:9464\""),
            (0, "`x` is not an absolute path", "write \"stdout\" or a path from `/` on"),
        ],
    );
    for value in ["9464", "localhost:9464", "127.0.0.1:0"] {
        let message = format!("`{value}` is not an address and a port");
        refuses(&format!("{NODE}[metrics]\nlisten = ▶\"{value}\""), &[(0, &message, listen)]);
    }
}

#[test]
fn whole_tables_of_later() {
    refuses(
        &format!("{NODE}[▶dns]\nlisten = []"),
        &[(0, "`dns` is not built yet", "remove it, and publish the addresses that `spectrum status` shows")],
    );
    refuses(
        &format!("{NODE}[▶aplications]\nx = 1\n[[▶zone]]\n"),
        &[
            (0, "unknown key `aplications` in the file", "did you mean `applications`?"),
            (0, "unknown key `zone` in the file", "did you mean `zones`?"),
        ],
    );
}

#[test]
fn pools() {
    for (value, message, help) in [
        ("198.51.100.1/24", "it has bits set behind its prefix", "write 198.51.100.0/24"),
        ("0.0.0.0/0", "it is wider than /8", "write the prefix that is dedicated to the edge"),
        ("::/0", "it is wider than /16", "write the prefix that is dedicated to the edge"),
        ("224.0.0.0/24", "it holds a multicast address", "write a prefix of unicast addresses"),
        ("ff02::/64", "it holds a multicast address", "write a prefix of unicast addresses"),
        ("255.255.255.0/24", "it holds a reserved address (240.0.0.0/4)", "write a prefix of unicast addresses"),
        ("fe80::/64", "it holds a link-local address, which needs an interface", "write a prefix of unicast addresses"),
        ("127.0.0.0/8", "it holds 127.0.0.1", "a pool on loopback is a part of it such as 127.77.0.0/24"),
        ("::1/128", "it holds ::1", "a pool on loopback is a part of it such as 127.77.0.0/24"),
    ] {
        let message = format!("`{value}` cannot be a pool: {message}");
        refuses(&format!("{NODE}[edge]\npools = [▶\"{value}\"]"), &[(0, &message, help)]);
    }
    refuses(
        &format!(
            "{NODE}[edge]\nclosed_ports = ▶\"rst\"\npools = [\"10.0.0.0/16\", ▶\"10.0.0.0/16\", ▶\"10.0.7.0/24\", ▶\"10.1.0.1\", ▶\"::ffff:10.2.0.0/112\"]"
        ),
        &[
            (0, "`rst` is not a value of `closed_ports`", "write one of `drop`, `reset`"),
            (0, "the pool 10.0.0.0/16 is listed twice (line 5)", "remove one of them"),
            (0, "the pool 10.0.7.0/24 overlaps the pool 10.0.0.0/16 of line 5", "remove one of them"),
            (0, "`10.1.0.1` is not a prefix", "write 10.1.0.1/32"),
            (0, "`::ffff:10.2.0.0/112` is an IPv4 prefix written as IPv6", "write it as IPv4"),
        ],
    );
}

#[test]
fn what_an_application_must_have() {
    refuses(
        &format!("{NODE}▶▶▶[[applications]]"),
        &[
            (0, "missing key `protocol` in an application", "write protocol = \"tcp/22\""),
            (0, "missing key `dns` in an application", "write dns = { type = \"CNAME\", name = \"ssh.example.com\" }"),
            (11000, "an application needs an origin", "write origin_direct = [\"tcp://192.0.2.1:22\"]"),
        ],
    );
    refuses(
        &format!("{NODE}{}", app(&["dns = ▶▶{}", "origin_direct = ▶[]"])),
        &[
            (
                0,
                "missing key `type` in dns",
                "write type = \"CNAME\" (addresses from the pools) or \"ADDRESS\" (static ones)",
            ),
            (0, "missing key `name` in dns", "write name = \"ssh.example.com\""),
            (11000, "an application needs an origin", "write origin_direct = [\"tcp://192.0.2.1:22\"]"),
        ],
    );
    refuses(
        &format!("{NODE}applications = ▶5")
            .replace(NODE, "applications = ▶5\n")
            .replace("\napplications = ▶5", &format!("\n{NODE}")),
        &[(0, "`applications` is a list of tables, not an integer", "write [[applications]] above each of them")],
    );
}

#[test]
fn protocols() {
    let shape = "write tcp/22, tcp/1000-2000, udp/53, or one of ssh, rdp, minecraft";
    for (value, message, help) in [
        ("22", format!("`22` is not a protocol: {shape}"), "write \"tcp/22\""),
        ("TCP/22", "the transport `TCP` is neither tcp nor udp".to_owned(), "write \"tcp/22\""),
        ("SSH", format!("`SSH` is not a protocol: {shape}"), "write \"ssh\""),
        ("tcp/0", "ports go from 1 to 65535".to_owned(), "write \"tcp/22\" or \"tcp/1000-2000\""),
        ("tcp/9-3", "the range 9-3 is upside down".to_owned(), "write \"tcp/22\" or \"tcp/1000-2000\""),
        ("tcp/70000", "`70000` is not a port".to_owned(), "write \"tcp/22\" or \"tcp/1000-2000\""),
        (
            "udp/53",
            "an application over UDP is not built yet".to_owned(),
            "write a tcp protocol, or remove the application",
        ),
    ] {
        refuses(&format!("{NODE}{}", app(&[&format!("protocol = ▶\"{value}\"")])), &[(13002, &message, help)]);
    }
}

#[test]
fn unbuilt_fields_of_an_application() {
    refuses(
        &format!(
            "{NODE}{}",
            app(&[
                "traffic_type = ▶\"https\"",
                "proxy_protocol = ▶\"simple\"",
                "spp = ▶true",
                "▶virtual_network_id = \"x\"",
                "▶origin_worker_id = \"x\"",
                "argo_smart_routing = ▶\"true\"",
                "ip_firewall = ▶1",
                "▶connect_timeout = \"1s\"",
                "▶colour = 1",
            ])
        ),
        &[
            (0, "traffic_type = \"https\" is not built yet", "write \"direct\": bytes are relayed as they are"),
            (
                0,
                "proxy_protocol = \"simple\" is the Simple Proxy Protocol, which is for applications over UDP",
                "write proxy_protocol = \"v1\" or \"v2\", whichever the origin reads",
            ),
            (
                0,
                "spp = true is the Simple Proxy Protocol, which is for applications over UDP",
                "write proxy_protocol = \"v1\" or \"v2\", whichever the origin reads",
            ),
            (0, "`virtual_network_id` is not built yet", "write the origin's address as this host reaches it"),
            (0, "`origin_worker_id` is not built yet", "remove it"),
            (0, "`argo_smart_routing` is true or false, not a string", "write argo_smart_routing = true"),
            (0, "`ip_firewall` is true or false, not an integer", "write ip_firewall = true or ip_firewall = false"),
            (
                0,
                "unknown key `connect_timeout` in an application",
                "it belongs into extensions = { connect_timeout = … }",
            ),
            (
                0,
                "unknown key `colour` in an application",
                "write one of `id`, `protocol`, `dns`, `edge_ips`, `origin_direct`, `origin_port`, `zone`, \
                 `ip_firewall`, `proxy_protocol`, `spp`, `tls`, `extensions`, `traffic_type`, `argo_smart_routing`, \
                 `virtual_network_id`, `origin_worker_id`",
            ),
        ],
    );
    refuses(
        &format!("{NODE}{}", app(&["proxy_protocol = ▶\"v3\"", "tls = ▶\"On\""])),
        &[
            (0, "`v3` is not a value of `proxy_protocol`", "write one of `off`, `v1`, `v2`, `simple`"),
            (0, "`On` is not a value of `tls`", "write one of `off`, `flexible`, `full`, `strict`"),
        ],
    );
}

#[test]
fn fields_of_a_header_that_is_not_sent() {
    let not_sent = "`proxy_tlvs` are fields of a v2 header, which this application does not send";
    let help = "write proxy_protocol = \"v2\", or remove proxy_tlvs";
    for version in ["", "proxy_protocol = \"v1\"", "proxy_protocol = true", "proxy_protocol = \"off\""] {
        let lines = app(&[version, "extensions = { proxy_tlvs = ▶[\"unique_id\"] }"]);
        refuses(&format!("{NODE}{lines}"), &[(0, not_sent, help)]);
    }
    refuses(
        &format!(
            "{NODE}{}",
            app(&["proxy_protocol = \"v2\"", "extensions = { proxy_tlvs = [\"crc32c\", ▶\"uniqueid\", ▶1] }"])
        ),
        &[
            (0, "`uniqueid` is not a value of `proxy_tlvs`", "did you mean `unique_id`?"),
            (0, "`proxy_tlvs[2]` is a string, not an integer", "put it in quotes"),
        ],
    );
}

#[test]
fn every_extension_of_later() {
    let passes = "write tls = \"flexible\", \"full\" or \"strict\", or remove it";
    for (line, message, help) in [
        ("▶udp_idle_timeout = \"1s\"", "`udp_idle_timeout` is not built yet", "remove it"),
        ("client_ca = ▶\"/a\"", "`client_ca` is for TLS that ends at the edge, and here it passes through", passes),
        (
            "min_tls_version = ▶\"1.2\"",
            "`min_tls_version` is for TLS that ends at the edge, and here it passes through",
            passes,
        ),
        ("min_tls_version = ▶\"1.4\"", "`1.4` is not a value of `min_tls_version`", "write \"1.2\" or \"1.3\""),
        (
            "origin_key = ▶\"/a\"",
            "`origin_key` has no certificate",
            "write origin_certificate = \"/etc/spectrum/client.pem\" beside it",
        ),
        ("splice = ▶\"sockmap\"", "splice = \"sockmap\" is not built yet", "write \"auto\", \"splice\" or \"copy\""),
        ("udp_proxy_header = ▶\"every\"", "udp_proxy_header = \"every\" is not built yet", "remove it"),
        ("connect_timeout = ▶\"0s\"", "`0s` is out of range", "write more than zero, and no more than \"10m\""),
        ("idle_timeout = ▶\"8d\"", "`8d` is out of range", "write more than zero, and no more than \"7days\""),
        (
            "rate = ▶\"50\"",
            "`50` is no rate: a rate is a whole number of packets in a second, and its unit",
            "write \"50/s\"",
        ),
        (
            "rate = ▶\"6k/m\"",
            "`6k/m` is no rate: a rate is a whole number of packets in a second, and its unit",
            "write \"100/s\"",
        ),
        (
            "rate_per_source = ▶\"0/s\"",
            "`0/s` is no rate: a rate is from 1/s to 1000000000/s",
            "write one in this range, or remove the key: then nothing is refused",
        ),
        (
            "rate = \"50/s\"\nrate_per_source = ▶\"51/s\"",
            "one source may have 51/s, and all together only 50/s",
            "write \"50/s\" or less, or a higher `rate`; without the key one source may have it all",
        ),
        ("udp_reflection = ▶\"drop\"", "`udp_reflection` is for applications over UDP", "remove it"),
        ("udp_signatures = ▶\"pass\"", "`udp_signatures` is for applications over UDP", "remove it"),
        ("udp_signatures = ▶\"on\"", "`on` is not a value of `udp_signatures`", "write one of `drop`, `pass`"),
        ("▶idle_timout = \"1s\"", "unknown key `idle_timout` in extensions", "did you mean `idle_timeout`?"),
    ] {
        refuses(&format!("{NODE}{}[applications.extensions]\n{line}\n", app(&[])), &[(0, message, help)]);
    }
}

#[test]
fn hostnames_and_edge_ips_go_together() {
    let fixed = "write edge_ips = { type = \"static\", ips = [\"198.51.100.10\"] }, or dns.type = \"CNAME\"";
    let goes = "dns.type = \"ADDRESS\" goes with static edge addresses";
    let address = "dns = { type = \"ADDRESS\", name = \"a.example.com\" }";
    refuses(
        &format!("{NODE}{}", app(&["dns = { type = ▶\"ADDRESS\", name = \"a.example.com\" }"])),
        &[(11004, goes, fixed)],
    );
    refuses(&format!("{NODE}{}", app(&[address, "edge_ips = { type = ▶\"dynamic\" }"])), &[(11004, goes, fixed)]);
    refuses(
        &format!(
            "{NODE}{}",
            app(&[
                "dns = { type = ▶\"CNAME\", name = \"a.example.com\" }",
                "edge_ips = { type = \"static\", ips = [\"198.51.100.10\"] }"
            ])
        ),
        &[(11004, "static edge addresses go with dns.type = \"ADDRESS\"", "write type = \"ADDRESS\"")],
    );
    refuses(
        &format!(
            "{NODE}{}",
            app(&["edge_ips = { type = \"dynamic\", connectivity = ▶\"v4\", ips = ▶[\"198.51.100.10\"] }"])
        ),
        &[
            (0, "`v4` is not a value of `connectivity`", "write one of `all`, `ipv4`, `ipv6`"),
            (11004, "dynamic edge addresses are chosen by the node", "remove `ips`, or write type = \"static\""),
        ],
    );
    refuses(
        &format!("{NODE}{}", app(&[address, "edge_ips = ▶{ type = \"static\", connectivity = ▶\"all\" }"])),
        &[
            (0, "missing key `ips` in edge_ips", "write ips = [\"198.51.100.10\"]"),
            (11004, "`connectivity` is for dynamic edge addresses", "remove it: the listed addresses decide"),
        ],
    );
    refuses(
        &format!("{NODE}{}", app(&[address, "edge_ips = { type = \"static\", ips = ▶[] }"])),
        &[(11004, "an application needs at least one edge address", "write ips = [\"198.51.100.10\"]")],
    );
    refuses(
        &format!(
            "{NODE}{}",
            app(&[
                address,
                "edge_ips = { type = \"static\", ips = [\"198.51.100.10\", ▶\"198.51.100.10\", ▶\"::ffff:1.2.3.4\", ▶\"0.0.0.0\", ▶\"[::2]\"] }"
            ])
        ),
        &[
            (0, "198.51.100.10 is listed twice", "remove one"),
            (11004, "`::ffff:1.2.3.4` is an IPv4 address written as IPv6", "write 1.2.3.4"),
            (
                11004,
                "0.0.0.0 cannot be an edge address: it is the unspecified address",
                "write an address out of a pool, or one of this host",
            ),
            (11004, "`[::2]` is not an IP address", "write it without brackets: ::2"),
        ],
    );
    refuses(
        &format!("{NODE}{}", app(&["dns = { type = \"CNAME\", name = ▶\"a_b.example.com\" }"])),
        &[(0, "`a_b.example.com` is not a hostname: it holds `_`", "use letters, digits, `-` and dots")],
    );
}

#[test]
fn origins() {
    let server = "write the address of the origin server";
    let shape = "write tcp://192.0.2.1:22 or tcp://[2001:db8::1]:3000-4000";
    let origin = |value: &str| format!("{NODE}{}", app(&[&format!("origin_direct = [▶\"{value}\"]")]));
    for (value, message, help) in [
        (
            "tcp://192.0.2.1:22-23",
            "`tcp/22` has 1 port, the origin tcp://192.0.2.1:22-23 has 2 ports",
            "write tcp://192.0.2.1:22",
        ),
        ("udp://192.0.2.1:22", "the origin udp://192.0.2.1:22 is not tcp, as `tcp/22` is", "write tcp://192.0.2.1:22"),
        ("tcp://0.0.0.0:22", "0.0.0.0 cannot be an origin: it is the unspecified address", server),
        ("tcp://224.0.0.1:22", "224.0.0.1 cannot be an origin: it is a multicast address", server),
        ("tcp://255.255.255.255:22", "255.255.255.255 cannot be an origin: it is the broadcast address", server),
        (
            "tcp://[fe80::1]:22",
            "fe80::1 cannot be an origin: it is a link-local address, which needs an interface",
            server,
        ),
        ("tcp://[::ffff:192.0.2.1]:22", "`::ffff:192.0.2.1` is an IPv4 address written as IPv6", "write 192.0.2.1"),
        ("tcp://2001:db8::1:22", "`2001:db8::1` is not an IP address; an IPv6 one stands in brackets", shape),
        (
            "tcp://origin.example.com:22",
            "`origin.example.com` is not an IP address; an IPv6 one stands in brackets",
            shape,
        ),
    ] {
        refuses(&origin(value), &[(11002, message, help)]);
    }
    refuses(
        &format!(
            "{NODE}{}",
            app(&[
                "protocol = \"tcp/1000-2000\"",
                "origin_direct = [▶\"tcp://192.0.2.1:3000\", ▶\"tcp://192.0.2.1:65000\"]"
            ])
        ),
        &[
            (
                11002,
                "`tcp/1000-2000` has 1001 ports, the origin tcp://192.0.2.1:3000 has 1 port",
                "write tcp://192.0.2.1:3000-4000",
            ),
            (
                11002,
                "`tcp/1000-2000` has 1001 ports, the origin tcp://192.0.2.1:65000 has 1 port",
                "give both as many ports",
            ),
        ],
    );
    refuses(
        &format!("{NODE}{}", app(&["origin_direct = [\"tcp://192.0.2.1:22\", ▶\"tcp://192.0.2.1:22\"]"])),
        &[(11002, "the origin tcp://192.0.2.1:22 is listed twice", "remove one")],
    );
}

#[test]
fn zones() {
    refuses(
        &format!(
            "{NODE}[[zones]]\nname = \"example.com\"\n[[zones]]\nname = ▶\"Example.com\"\n[[zones]]\nname = ▶\"b.com\"\n\
             id = \"a379a6f6eeafb9a55e378c118034e275\"\n[[zones]]\nname = \"c.com\"\nid = ▶\"7\"\n"
        ),
        &[
            (0, "the zone `example.com` is there twice", "remove one"),
            (0, "the zones `example.com` and `b.com` have one id", "give each its own `id`, or none"),
            (0, "`7` is not an id", "write 32 hex digits, or remove it: ids are derived from names"),
        ],
    );
    refuses(
        &format!(
            "{NODE}[[zones]]\nname = \"example.com\"\n{}{}{}",
            app(&["dns = { type = \"CNAME\", name = ▶\"a.badexample.com\" }"]),
            app(&["dns = { type = \"CNAME\", name = \"b.example.com\" }", "zone = ▶\"exmple.com\""]),
            "[[access_rules]]\nmode = \"block\"\nconfiguration = { target = \"ip\", value = \"192.0.2.1\" }\nzone = ▶\"other.org\"\n",
        ),
        &[
            (16001, "`a.badexample.com` is in none of the zones", "add [[zones]] with name = \"badexample.com\""),
            (0, "there is no zone `exmple.com`", "did you mean `example.com`?"),
            (0, "there is no zone `other.org`", "write `example.com`"),
        ],
    );
    refuses(
        &format!(
            "{NODE}[[zones]]\nname = \"b.com\"\n[[zones]]\nname = \"example.com\"\n{}",
            app(&["zone = ▶\"b.com\""])
        ),
        &[(16001, "`a.example.com` is not in the zone `b.com`", "remove `zone`: the hostname decides")],
    );
    // A zone that cannot be read makes no second error where it is missed.
    refuses(
        &format!("{NODE}[[zones]]\nname = ▶\"example_.com\"\n{}", app(&[])),
        &[(0, "`example_.com` is not a hostname: it holds `_`", "use letters, digits, `-` and dots")],
    );
}

#[test]
fn access_rules() {
    let modes = "write one of `block`, `whitelist`, `challenge`, `js_challenge`, `managed_challenge`";
    for (lines, code, message, help) in [
        (
            "mode = ▶\"allow\"\nconfiguration = { target = \"ip\", value = \"192.0.2.1\" }",
            0,
            "`allow` is not a value of `mode`",
            "write \"whitelist\", which is what the product's API calls it",
        ),
        (
            "mode = ▶\"deny\"\nconfiguration = { target = \"ip\", value = \"192.0.2.1\" }",
            0,
            "`deny` is not a value of `mode`",
            modes,
        ),
        (
            "mode = \"block\"\nconfiguration = { target = \"asn\", value = ▶\"AS64496\" }",
            0,
            "nothing tells which addresses are of AS64496",
            "name a database: asn = \"/path/to/asn.mmdb\" in [geo]",
        ),
        (
            "mode = \"block\"\nconfiguration = { target = \"asn\", value = ▶\"AS0\" }",
            0,
            "`AS0` is not the number of an autonomous system",
            "write \"AS64500\": a number from 1 to 4294967295",
        ),
        (
            "mode = \"block\"\nconfiguration = { target = \"country\", value = ▶\"UK\" }",
            0,
            "`UK` is not a country",
            "write \"GB\", which is the United Kingdom's code",
        ),
        (
            "mode = \"block\"\nconfiguration = { target = \"country\", value = ▶\"T1\" }",
            0,
            "nothing tells which addresses are of T1",
            "name a database: country = \"/path/to/country.mmdb\" in [geo]",
        ),
        (
            "mode = \"block\"\nconfiguration = { target = \"ip\", value = ▶\"192.0.2.0/24\" }",
            0,
            "`192.0.2.0/24` is a range",
            "write target = \"ip_range\"",
        ),
        (
            "mode = \"block\"\nconfiguration = { target = \"ip6\", value = ▶\"192.0.2.1\" }",
            0,
            "192.0.2.1 is an IPv4 address",
            "write target = \"ip\"",
        ),
        (
            "mode = \"block\"\nconfiguration = { target = \"ip_range\", value = ▶\"192.0.2.1\" }",
            0,
            "`192.0.2.1` is not a prefix",
            "write 192.0.2.1/32",
        ),
        (
            "mode = \"block\"\nconfiguration = { target = \"ip\", value = ▶\"192.0.2.256\" }",
            0,
            "`192.0.2.256` is not an IP address",
            "write an address such as 198.51.100.10 or 2001:db8::1",
        ),
        (
            "mode = \"block\"\nexpires_on = ▶\"tomorrow\"\nconfiguration = { target = \"ip\", value = \"192.0.2.1\" }",
            0,
            "`tomorrow` is not a moment in UTC",
            "write the date, T, the time and Z: expires_on = \"2030-01-31T12:00:00Z\"",
        ),
        (
            "mode = \"block\"\nexpires_on = ▶2030-01-01\nconfiguration = { target = \"ip\", value = \"192.0.2.1\" }",
            0,
            "`2030-01-01` is not a moment in UTC",
            "write the date, T, the time and Z: expires_on = \"2030-01-31T12:00:00Z\"",
        ),
        (
            "mode = \"block\"\nexpires_on = ▶3600\nconfiguration = { target = \"ip\", value = \"192.0.2.1\" }",
            0,
            "`expires_on` is a moment, not an integer",
            "write expires_on = \"2030-01-31T12:00:00Z\"",
        ),
        (
            "mode = \"whitelist\"\nsimulate = ▶true\nconfiguration = { target = \"ip\", value = \"192.0.2.1\" }",
            0,
            "an allow rule cannot be tried: what it would let through is not known to be dropped",
            "remove `simulate`, or try the block rule that it is an exception of",
        ),
        (
            "mode = \"block\"\nnotes = ▶1\nconfiguration = { target = \"ip\", value = \"192.0.2.1\" }",
            0,
            "`notes` is a string, not an integer",
            "put it in quotes",
        ),
    ] {
        refuses(&rule(lines), &[(code, message, help)]);
    }
    refuses(
        &format!("{NODE}▶▶[[access_rules]]"),
        &[
            (0, "missing key `mode` in an access rule", "write mode = \"block\" or \"whitelist\""),
            (
                0,
                "missing key `configuration` in an access rule",
                "write configuration = { target = \"ip\", value = \"192.0.2.1\" }",
            ),
        ],
    );
}

#[test]
fn a_rule_is_there_once() {
    let twice = "the access rule of line 5 has the same target, value and scope";
    refuses(
        &rule(
            "mode = \"block\"\nconfiguration = { target = \"ip_range\", value = \"203.0.113.0/24\" }\n[[access_rules]]\n\
             mode = \"whitelist\"\nconfiguration = { target = \"ip_range\", value = ▶\"203.0.113.9/24\" }",
        ),
        &[(10009, twice, "remove one of the two")],
    );
    refuses(
        &rule(
            "mode = \"block\"\nconfiguration = { target = \"ip6\", value = \"2001:db8::1\" }\n[[access_rules]]\n\
             mode = \"block\"\nconfiguration = { target = \"ip\", value = ▶\"2001:DB8:0::1\" }",
        ),
        &[(10009, twice, "remove one of the two")],
    );
}

#[test]
fn databases() {
    refuses(
        &format!("{NODE}▶[geo]\nmemory = \"full\"").replace("▶[", "▶["),
        &[(0, "[geo] names no database", "write country = \"/path/to/country.mmdb\" or asn = \"…\", or remove it")],
    );
    refuses(
        &format!("{NODE}[geo]\ncountry = ▶\"country.mmdb\""),
        &[(
            0,
            "`country.mmdb` is not an absolute path",
            "write it from `/` on: a service does not start in your directory",
        )],
    );
}

#[test]
fn automatic_rules_have_bounds() {
    for (line, what) in [
        ("auto_rules = \"on\"", "`on` is not a value of `auto_rules`"),
        ("auto_connections = 9", "`auto_connections` is a whole number from 10"),
        ("auto_packets = -1", "`auto_packets` is a whole number from 10"),
        ("auto_duration = \"25h\"", "`25h` is out of range"),
        ("auto_most = 0", "`auto_most` is a whole number from 1 to 1024"),
        ("auto_rule = \"off\"", "unknown key `auto_rule` in [shield]"),
    ] {
        let errors = bad(&format!("{NODE}[shield]\n{line}\n")).to_string();
        assert!(errors.contains(what), "{line}: {errors}");
    }
}

#[cfg(not(feature = "legacy-tls"))]
#[test]
fn old_versions_of_tls_without_their_feature() {
    let help = "write \"1.2\"; or build with `--features legacy-tls`, and read what RFC 8996 says about it";
    for version in ["1.0", "1.1"] {
        let key = format!("extensions = {{ min_tls_version = ▶\"{version}\" }}");
        let message = format!("this build has no TLS {version}: it is without the feature `legacy-tls`");
        refuses(&format!("{NODE}{}", app(&["tls = \"flexible\"", &key])), &[(0, &message, help)]);
    }
}

#[cfg(feature = "legacy-tls")]
#[test]
fn old_versions_of_tls_with_certificates_of_clients() {
    let keys = "extensions = { min_tls_version = ▶\"1.1\", client_ca = \"/a\" }";
    let message = "clients show no certificates to the library that speaks TLS 1.0 and 1.1";
    let help = "write min_tls_version = \"1.2\", or remove client_ca";
    refuses(&format!("{NODE}{}", app(&["tls = \"flexible\"", keys])), &[(0, message, help)]);
}
