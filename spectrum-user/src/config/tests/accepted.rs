//! Files that are right, and what they mean.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::*;
use crate::model::{
    AppId, ClosedPorts, Connectivity, EdgeIps, EventSink, Instance, ProxyProtocol, RuleMode, Scope, SpliceMode,
    TlsMode, Tlvs, UdpFragments, XdpMode, ZoneId,
};

const EXAMPLE: &str = include_str!("../../../../docs/spectrum.example.toml");

#[test]
fn the_shipped_example_is_right() {
    let config = good(EXAMPLE);
    assert_eq!(config.node.filter.interfaces, ["eth0"]);
    assert_eq!(config.node.metrics, Some(SocketAddr::from(([127, 0, 0, 1], 9464))));
    assert_eq!(config.node.events, Some(EventSink::File(PathBuf::from("/var/log/spectrum/events.jsonl"))));
    assert_eq!(config.applications.len(), 8);
    assert_eq!(config.applications[1].tls.mode, TlsMode::Strict);
    assert_eq!(config.node.tls.certificates, [PathBuf::from("/etc/spectrum/certs")]);
    assert_eq!(config.applications[5].timeouts.idle, Some(Duration::from_hours(1)));
    assert_eq!(config.applications[5].origins.direct().len(), 2);
    assert_eq!(config.applications[6].edge_ips, EdgeIps::Dynamic(Connectivity::Ipv4));
    let names: Vec<usize> = config.applications.iter().map(|app| app.sni.iter().count()).collect();
    assert_eq!(names, [0, 0, 2, 0, 0, 0, 0, 0]);
    let zone = ZoneId::derive(&["example.com"]);
    assert!(config.applications.iter().all(|application| application.zone == zone));
    assert_eq!(config.rules[0].mode, RuleMode::Block);
    assert_eq!(config.rules[0].scope, Scope::User);
    assert_eq!((config.rules[1].mode, config.rules[1].scope), (RuleMode::Allow, Scope::Zone(zone)));
    assert_eq!(config.notes, []);
}

#[test]
fn what_is_not_said_has_a_default() {
    let config = good(NODE);
    let node = &config.node;
    assert_eq!((node.filter.mode, node.workers, node.drain), (XdpMode::Auto, 0, Duration::from_secs(30)));
    assert_eq!(node.instance, Instance::default());
    assert_eq!(node.state_dir, PathBuf::from("/var/lib/spectrum"));
    assert_eq!(node.api, [PathBuf::from("/run/spectrum/default.sock")]);
    assert_eq!((node.metrics, &node.events), (None, &None));
    assert_eq!((config.edge.pools.len(), config.edge.closed_ports), (0, ClosedPorts::Drop));
    assert_eq!(config.edge.udp_fragments, UdpFragments::Drop);
    let passing = good(&format!("{NODE}udp_fragments = \"pass\"\n"));
    assert_eq!(passing.edge.udp_fragments, UdpFragments::Pass);
    assert_eq!(config.zones.len(), 1);
    assert_eq!(config.zones[0].name, "default");
}

#[test]
fn another_instance_has_its_own_socket_and_state() {
    let node = good("[node]\nxdp_mode = \"off\"\ninstance = \"b\"\n").node;
    assert_eq!(node.state_dir, PathBuf::from("/var/lib/spectrum/b"));
    assert_eq!(node.api, [PathBuf::from("/run/spectrum/b.sock")]);
}

#[test]
fn defaults_of_the_product_may_be_spelled_out() {
    let config = good(&format!(
        r#"{NODE}
[[applications]]
id = "ea95132c15732412d22c1476fa83f27a"
protocol = "ssh"
traffic_type = "direct"
dns = {{ type = "CNAME", name = "SSH.example.com" }}
origin_direct = ["tcp://[2001:db8::1]:22"]
proxy_protocol = false
spp = false
tls = "off"
argo_smart_routing = true
ip_firewall = false
extensions.splice = "copy"
extensions.balance = "round_robin"
extensions.syn_cookies = "auto"
extensions.connect_timeout = "500ms"
extensions.rate_per_source = "20/s"
extensions.rate = "20/s"
"#
    ));
    let application = &config.applications[0];
    assert_eq!(application.id.to_string(), "ea95132c15732412d22c1476fa83f27a");
    assert_eq!(application.hostname, "ssh.example.com");
    assert_eq!(application.protocol.as_str(), "ssh", "echoed as sent");
    assert_eq!(application.edge_ips, EdgeIps::Dynamic(Connectivity::All));
    assert_eq!(application.rates.per_source, application.rates.total);
    assert_eq!(application.rates.total.map(crate::model::PacketRate::per_second), Some(20));
    assert_eq!((application.splice, application.timeouts.connect), (SpliceMode::Copy, Duration::from_millis(500)));
}

#[test]
fn the_header_that_names_the_client() {
    let of = |lines: &str| {
        let text = format!(
            "{NODE}[[applications]]\nprotocol = \"ssh\"\ndns = {{ type = \"CNAME\", name = \"a.example.com\" }}\n\
             origin_direct = [\"tcp://192.0.2.1:22\"]\n{lines}\n"
        );
        good(&text).applications[0].proxy_protocol
    };
    for (lines, meant) in [
        ("", ProxyProtocol::Off),
        ("proxy_protocol = \"off\"", ProxyProtocol::Off),
        ("proxy_protocol = \"v1\"", ProxyProtocol::V1),
        ("proxy_protocol = true\nspp = false", ProxyProtocol::V1),
        ("proxy_protocol = \"v2\"", ProxyProtocol::V2(Tlvs::default())),
        ("extensions.proxy_tlvs = []", ProxyProtocol::Off),
        (
            "proxy_protocol = \"v2\"\nextensions.proxy_tlvs = [\"crc32c\", \"authority\", \"crc32c\"]",
            ProxyProtocol::V2(Tlvs { unique_id: false, crc32c: true, authority: true, ssl: false }),
        ),
    ] {
        assert_eq!(of(lines), meant, "{lines}");
    }
}

#[test]
fn ids_come_from_what_makes_objects_unique() {
    let config = |protocol: &str| {
        let text = format!(
            "{NODE}[[applications]]\nprotocol = \"{protocol}\"\ndns = {{ type = \"CNAME\", name = \"A.example.com\" }}\n\
             origin_direct = [\"tcp://192.0.2.1:22\"]\n"
        );
        good(&text).applications[0].id
    };
    assert_eq!(config("ssh"), AppId::derive(&["a.example.com", "tcp/22"]));
    assert_eq!(config("tcp/22-22"), config("ssh"), "however the port is written");
}

#[test]
fn the_longest_zone_has_the_hostname() {
    let config = good(&format!(
        r#"{NODE}
[[zones]]
name = "example.com"
[[zones]]
name = "Eu.example.com"
id = "00000000000000000000000000000001"
[[applications]]
protocol = "tcp/1"
dns = {{ type = "CNAME", name = "a.eu.example.com" }}
origin_direct = ["tcp://192.0.2.1:1"]
[[applications]]
protocol = "tcp/1"
dns = {{ type = "CNAME", name = "neu.example.com" }}
origin_direct = ["tcp://192.0.2.1:1"]
[[applications]]
protocol = "tcp/1"
zone = "example.com"
dns = {{ type = "CNAME", name = "b.eu.example.com" }}
origin_direct = ["tcp://192.0.2.1:1"]
"#
    ));
    let zones: Vec<_> = config.applications.iter().map(|application| application.zone.to_string()).collect();
    let all = ZoneId::derive(&["example.com"]).to_string();
    assert_eq!(zones, ["00000000000000000000000000000001", &all, &all]);
}

#[test]
fn rules_are_normalised_and_say_so() {
    let config = good(&format!(
        r#"{NODE}
[[access_rules]]
mode = "block"
configuration = {{ target = "ip_range", value = "203.0.113.9/24" }}
[[access_rules]]
mode = "managed_challenge"
configuration = {{ target = "ip", value = "2001:DB8::1" }}
[[access_rules]]
mode = "whitelist"
configuration = {{ target = "ip_range", value = "0.0.0.0/0" }}
simulate = false
[[access_rules]]
mode = "block"
configuration = {{ target = "ip", value = "192.0.2.7" }}
simulate = true
expires_on = 2099-12-31T23:59:59Z
"#
    ));
    assert_eq!(config.rules[0].target.to_string(), "203.0.113.0/24");
    assert_eq!(config.rules[1].target.to_string(), "2001:db8::1/128");
    assert_eq!(config.rules[1].mode, RuleMode::Challenge);
    assert_eq!(config.rules[2].target.to_string(), "0.0.0.0/0");
    assert!(config.rules[3].simulate && !config.rules[2].simulate);
    let expires = humantime::parse_rfc3339("2099-12-31T23:59:59Z").unwrap();
    assert_eq!(config.rules[3].expires_on, Some(expires), "a date of TOML, or a string");
    let [note] = config.notes.as_slice() else { panic!("{:?}", config.notes) };
    assert_eq!(
        note.to_string(),
        "note: 203.0.113.9/24 is taken as 203.0.113.0/24
 --> spectrum.toml:6:48
  |
6 | configuration = { target = \"ip_range\", value = \"203.0.113.9/24\" }
  |                                                ^^^^^^^^^^^^^^^^
  = help: write 203.0.113.0/24"
    );
}

#[test]
fn applications_may_share_what_does_not_intersect() {
    // One hostname with other ports; one address with other ports under another hostname; one hostname and port
    // with another family.
    let config = good(&format!(
        r#"{NODE}
[[applications]]
protocol = "tcp/22"
dns = {{ type = "ADDRESS", name = "a.example.com" }}
edge_ips = {{ type = "static", ips = ["198.51.100.10", "2001:db8::10"] }}
origin_direct = ["tcp://192.0.2.1:22"]
[[applications]]
protocol = "tcp/23"
dns = {{ type = "ADDRESS", name = "a.example.com" }}
edge_ips = {{ type = "static", ips = ["2001:db8::10", "198.51.100.10"] }}
origin_direct = ["tcp://192.0.2.1:22"]
[[applications]]
protocol = "tcp/24"
dns = {{ type = "ADDRESS", name = "b.example.com" }}
edge_ips = {{ type = "static", ips = ["198.51.100.10"] }}
origin_direct = ["tcp://192.0.2.1:22"]
[[applications]]
protocol = "tcp/22"
dns = {{ type = "CNAME", name = "c.example.com" }}
edge_ips = {{ type = "dynamic", connectivity = "ipv4" }}
origin_direct = ["tcp://192.0.2.1:22"]
[[applications]]
id = "00000000000000000000000000000001"
protocol = "tcp/22"
dns = {{ type = "CNAME", name = "c.example.com" }}
edge_ips = {{ type = "dynamic", connectivity = "ipv6" }}
origin_direct = ["tcp://192.0.2.2:22"]
"#
    ));
    assert_eq!(config.applications.len(), 5);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_trouble() {
    let config = good("\u{feff}[node]\r\ninterfaces = [\"eth0\"]\r\n");
    assert_eq!(config.node.filter.interfaces, ["eth0"]);
}

/// The file of the specification.
const SPECIFIED: &str = r#"
[node]
interfaces = ["eth0"]        # XDP is attached to these
xdp_mode   = "auto"
instance   = "default"
state_dir  = "/var/lib/spectrum"
workers    = 0

[edge]
pools        = ["198.51.100.0/24", "2001:db8:51::/64"]
closed_ports = "drop"

[api]
listen     = ["unix:/run/spectrum/api.sock"]

[metrics]
listen = "127.0.0.1:9464"

[geo]
country = "/usr/share/spectrum/country.mmdb"
asn     = "/usr/share/spectrum/asn.mmdb"

[events]
file = "/var/log/spectrum/events.jsonl"

[[zones]]
name = "example.com"

[[applications]]
protocol      = "tcp/1000-2000"
dns           = { type = "ADDRESS", name = "range.example.com" }
edge_ips      = { type = "static", ips = ["198.51.100.10"] }
origin_direct = ["tcp://192.0.2.1:3000-4000"]
ip_firewall   = true

[[access_rules]]
mode          = "block"
configuration = { target = "ip_range", value = "203.0.113.0/24" }
notes         = "scanner"
"#;

/// What it also holds and is not built.
const LATER: &str = r#"
[tls]
certificates = "/etc/spectrum/certs"

[dns]
listen = ["198.51.100.53:53"]
"#;

#[test]
fn the_file_of_the_specification_is_right_as_far_as_it_is_built() {
    let config = good(SPECIFIED);
    assert_eq!(config.node.api, [PathBuf::from("/run/spectrum/api.sock")]);
    assert_eq!(config.applications[0].origins.to_string(), "tcp://192.0.2.1:3000-4000");
    assert!(config.applications[0].ip_firewall);
    assert_eq!(config.rules[0].notes, "scanner");

    let extensions =
        r#"extensions    = { origin_server_name = "origin.example.com", origin_ca = "/etc/spectrum/origin-ca.pem" }"#;
    let whole = SPECIFIED
        .replace("ip_firewall   = true", &format!("ip_firewall = true\n{extensions}"))
        .replace("api.sock\"]", "api.sock\", \"127.0.0.1:8787\"]\ntoken_file = \"/etc/spectrum/token\"");
    let errors = bad(&format!("{whole}{LATER}"));
    let messages: Vec<_> = errors.as_slice().iter().map(|found| found.message.as_str()).collect();
    assert_eq!(messages, ["the API over TCP", "`token_file`", "`dns`"].map(|what| format!("{what} is not built yet")));
}

#[test]
fn rules_by_network_and_country() {
    let rule = |target: &str, value: &str| {
        let text = format!(
            "{NODE}[geo]\ncountry = \"/c.mmdb\"\nasn = \"/a.mmdb\"\nmemory = \"full\"\n[[access_rules]]\nmode = \"block\"\n\
             configuration = {{ target = \"{target}\", value = {value} }}\n"
        );
        let config = good(&text);
        assert_eq!(config.node.geo.memory, crate::model::GeoMemory::Full);
        config.rules[0].target.to_string()
    };
    for value in ["\"AS64500\"", "\"64500\"", "\"as64500\"", "64500"] {
        assert_eq!(rule("asn", value), "AS64500");
    }
    assert_eq!(rule("asn", "4294967295"), "AS4294967295");
    for (value, country) in [("\"DE\"", "DE"), ("\"de\"", "DE"), ("\"T1\"", "T1"), ("\"XX\"", "XX")] {
        assert_eq!(rule("country", value), country);
    }
}

#[test]
fn automatic_rules_are_tried_unless_the_node_says_otherwise() {
    use crate::model::{AutoRules, AutoSettings};
    assert_eq!(good(NODE).node.shield.auto, AutoSettings::default());
    assert_eq!(AutoSettings::default().rules, AutoRules::Simulate);
    let shield = "[shield]\nauto_rules = \"enforce\"\nauto_connections = 50\nauto_packets = 70\nauto_duration = \"1h\"\nauto_most = 3\n";
    let expected = AutoSettings {
        rules: AutoRules::Enforce,
        connections: 50,
        packets: 70,
        duration: Duration::from_hours(1),
        most: 3,
    };
    assert_eq!(good(&format!("{NODE}{shield}")).node.shield.auto, expected);
}
