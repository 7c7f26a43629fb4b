//! `origin_dns` and `origin_port`: origins by name.

use std::{ops::Range, time::Duration};

use toml::de::DeValue;

use super::{count, fitting};
use crate::{
    config::{
        diagnostic::Fault,
        reader::{Found, Table},
        text,
    },
    model::{AddressRecords, DnsOrigin, DnsRecords, PortRange, Protocol},
};

/// Seconds; the product's lower bound, and its example's neighbourhood as the default.
const TTL: Range<u64> = 600..604_801;
const DEFAULT_TTL: Duration = Duration::from_mins(20);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Addresses(AddressRecords),
    Srv,
}

pub(super) fn read(table: &mut Table<'_>, protocol: Option<&Found<Protocol>>) -> Option<DnsOrigin> {
    let kinds = [
        ("", Kind::Addresses(AddressRecords::Both)),
        ("A", Kind::Addresses(AddressRecords::A)),
        ("AAAA", Kind::Addresses(AddressRecords::Aaaa)),
        ("SRV", Kind::Srv),
    ];
    // Known, whatever is wrong with the rest.
    table.any("origin_port");
    let mut dns = table.table("origin_dns", "origin_dns")?;
    let kind = if dns.has("type") {
        dns.choice("type", &kinds).map(|found| found.value)
    } else {
        Some(Kind::Addresses(AddressRecords::Both))
    };
    let name = dns.require("name", "\"origin.example.com\"", |dns, key| match kind {
        Some(Kind::Srv) => dns.parsed(key, |value| service(value).map_err(|fault| fault.code(11001))),
        _ => dns.parsed(key, |value| text::hostname(value).map_err(|fault| fault.code(11001))),
    });
    let asked = dns.has("ttl");
    let ttl = dns.integer("ttl", &TTL).map(|found| Duration::from_secs(found.value));
    let ttl = if asked { ttl } else { Some(DEFAULT_TTL) };
    dns.finish();
    let records = match kind? {
        Kind::Addresses(records) => DnsRecords::Addresses(records, ports(table, protocol)?),
        Kind::Srv => {
            no_range(table, protocol)?;
            DnsRecords::Srv
        }
    };
    Some(DnsOrigin { name: name?.value, records, ttl: ttl? })
}

/// A name of SRV records: `_sip._tcp.example.com` (RFC 2782). Underscores begin labels, and stand nowhere else.
fn service(value: &str) -> Result<String, Fault> {
    let plain: Vec<&str> = value.split('.').map(|label| label.strip_prefix('_').unwrap_or(label)).collect();
    text::hostname(&plain.join("."))?;
    Ok(value.to_ascii_lowercase())
}

fn ports(table: &mut Table<'_>, protocol: Option<&Found<Protocol>>) -> Option<PortRange> {
    let Some((place, value)) = table.any("origin_port") else {
        let fault = Fault::new("`origin_dns` needs the port of the origin").code(11001);
        let example = protocol.map_or_else(|| "22".to_owned(), |protocol| written(protocol.value.ports));
        let help = format!("write origin_port = {example}, or type = \"SRV\" where the records say it");
        table.findings().error(table.place(), fault.help(help));
        return None;
    };
    let parsed = match value {
        DeValue::Integer(number) => number.as_str().parse().ok().and_then(|port| PortRange::single(port).ok()),
        DeValue::String(range) => range.split_once('-').and_then(|(first, last)| {
            let range = PortRange::new(first.parse().ok()?, last.parse().ok()?).ok()?;
            (range.count() > 1).then_some(range)
        }),
        _ => None,
    };
    let Some(ports) = parsed else {
        let fault = Fault::new("`origin_port` is a port or a range of ports from 1 to 65535").code(11001);
        table.findings().error(&place, fault.help("write origin_port = 22 or origin_port = \"3000-4000\""));
        return None;
    };
    let Some(protocol) = protocol else { return Some(ports) };
    let edge = protocol.value.ports.count();
    if edge != ports.count() {
        let (has, behind) = (count(edge), count(ports.count()));
        let fault = Fault::new(format!("`{}` has {has}, `origin_port` has {behind}", protocol.value)).code(11001);
        let help = match fitting(edge, ports) {
            Some(ports) => format!("write origin_port = {}", written(ports)),
            None => "give both as many ports".to_owned(),
        };
        table.findings().error(&place, fault.help(help));
        return None;
    }
    Some(ports)
}

/// SRV records say one port each.
fn no_range(table: &mut Table<'_>, protocol: Option<&Found<Protocol>>) -> Option<()> {
    if let Some((place, _)) = table.any("origin_port") {
        table.findings().note(&place, Fault::new("SRV records say the port: `origin_port` says nothing"));
    }
    let edge = protocol?.value.ports.count();
    if edge > 1 {
        let fault = Fault::new(format!("`{}` has {}, an SRV record has one", protocol?.value, count(edge)));
        let help = "write a protocol of one port, or another type with origin_port";
        table.findings().error(table.place(), fault.code(11001).help(help));
        return None;
    }
    Some(())
}

fn written(ports: PortRange) -> String {
    if ports.count() == 1 { ports.to_string() } else { format!("\"{ports}\"") }
}
