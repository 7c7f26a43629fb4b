//! A sampled packet as a line of the event stream: the same names as in the lines about connections.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;

use crate::{dataplane::events::Sample, geo::Whereabouts, shield::TcpFlags, telemetry::timestamp};

/// What people call an application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AppName {
    pub id: String,
    pub hostname: String,
    pub protocol: String,
}

/// Which names stand for the numbers of a sample.
pub trait Naming {
    fn app(&self, number: u32) -> Option<AppName>;
    /// A rule's id, and whatever else is known of it.
    fn rule(&self, number: u32) -> Option<Value>;
}

/// The sample as one line of JSON without its end; with its packet in hexadecimal where `packet` says so.
pub fn line(sample: &Sample, names: &impl Naming, source: Whereabouts, packet: bool) -> String {
    let header = sample.header();
    let app = sample.app.and_then(|number| names.app(number)).unwrap_or_default();
    let line = Line {
        application: &app.id,
        client_asn: source.asn.unwrap_or_default(),
        client_country: source.country.map_or_else(String::new, |country| country.to_string()),
        client_ip: sample.source,
        client_port: sample.source_port,
        event: sample.reason.action().as_str(),
        timestamp: timestamp(sample.time),
        extensions: Extensions {
            hostname: &app.hostname,
            edge_ip: sample.destination,
            edge_port: sample.destination_port,
            reason: sample.reason.as_str(),
            explanation: sample.reason.explain(),
            rule: sample.rule.and_then(|number| names.rule(number)),
            protocol: sample.protocol,
            tcp_flags: sample.tcp_flags.map(|flags| TcpFlags(flags).to_string()),
            ip_length: header.ip_length,
            ttl: header.ttl,
            tcp_window: header.tcp_window,
            tcp_options: header.tcp_options,
            length: sample.length,
            ifindex: sample.ifindex,
            drops: sample.drops,
            weight: sample.weight,
            packet: packet.then(|| hexadecimal(sample.packet.bytes())),
        },
    };
    // Nothing in it can fail to be JSON.
    serde_json::to_string(&line).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    application: &'a str,
    client_asn: u32,
    client_country: String,
    #[serde(rename = "ClientIP")]
    client_ip: IpAddr,
    client_port: u16,
    event: &'static str,
    timestamp: String,
    #[serde(rename = "extensions")]
    extensions: Extensions<'a>,
}

#[derive(Serialize)]
struct Extensions<'a> {
    hostname: &'a str,
    edge_ip: IpAddr,
    edge_port: u16,
    reason: &'static str,
    explanation: &'static str,
    rule: Option<Value>,
    protocol: u8,
    tcp_flags: Option<String>,
    ip_length: Option<u16>,
    ttl: Option<u8>,
    tcp_window: Option<u16>,
    tcp_options: Option<u8>,
    length: u32,
    ifindex: u32,
    drops: u32,
    weight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet: Option<String>,
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Both ends of a sample.
pub const fn ends(sample: &Sample) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(sample.source, sample.source_port), SocketAddr::new(sample.destination, sample.destination_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Country;

    struct Names;

    impl Naming for Names {
        fn app(&self, number: u32) -> Option<AppName> {
            (number == 1).then(|| AppName {
                id: "a1".into(),
                hostname: "one.example.com".into(),
                protocol: "tcp/443".into(),
            })
        }

        fn rule(&self, number: u32) -> Option<Value> {
            (number == 4).then(|| serde_json::json!({ "id": "r4", "notes": "a \"scanner\"\u{1b}[2J" }))
        }
    }

    #[test]
    fn a_line_says_who_why_and_by_which_rule() {
        let sample = Sample { reason: spectrum_common::Reason::Blocked, rule: Some(4), drops: 7, ..Sample::testing() };
        let france = Whereabouts { asn: Some(64501), country: Country::new("FR") };
        let text = line(&sample, &Names, france, true);
        assert!(!text.contains('\u{1b}'), "control characters are escaped");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["Event"], &json["ClientIP"]), (&"drop".into(), &"192.0.2.7".into()));
        assert_eq!((&json["ClientAsn"], &json["ClientCountry"]), (&64501.into(), &"FR".into()));
        let extensions = &json["extensions"];
        assert_eq!((&extensions["reason"], &extensions["rule"]["id"]), (&"blocked".into(), &"r4".into()));
        assert_eq!((&extensions["drops"], &extensions["tcp_flags"]), (&7.into(), &"SYN".into()));
        assert_eq!(extensions["hostname"], "one.example.com");
    }

    #[test]
    fn bytes_are_written_as_people_read_them() {
        assert_eq!(hexadecimal(&[0, 0x1f, 0xff]), "001fff");
    }
}
