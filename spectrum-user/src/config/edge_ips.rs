//! `dns` and `edge_ips` of an application: its hostname, and the addresses it asks for. The two go together.

use std::net::IpAddr;

use super::{
    diagnostic::{Fault, Place},
    reader::{Found, Table},
    text,
};
use crate::model::{Connectivity, EdgeIps};

/// How the addresses of a hostname are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DnsType {
    /// By the node, out of its pools.
    Cname,
    /// By the operator.
    Address,
}

/// `dns = { type, name }`: what of it could be read.
#[derive(Default)]
pub(super) struct Dns {
    pub(super) kind: Option<Found<DnsType>>,
    pub(super) name: Option<Found<String>>,
}

/// The addresses asked for, and where they stand.
pub(super) struct ReadEdgeIps {
    pub(super) value: EdgeIps,
    pub(super) place: Place,
    pub(super) addresses: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dynamic,
    Static,
}

pub(super) fn read_dns(application: &mut Table<'_>) -> Dns {
    let table = application
        .require("dns", "{ type = \"CNAME\", name = \"ssh.example.com\" }", |table, key| table.table(key, "dns"));
    let Some(mut table) = table else { return Dns::default() };
    let kind =
        table.require("type", "\"CNAME\" (addresses from the pools) or \"ADDRESS\" (static ones)", |table, key| {
            table.choice(key, &[("CNAME", DnsType::Cname), ("ADDRESS", DnsType::Address)])
        });
    let name = table.require("name", "\"ssh.example.com\"", |table, key| table.parsed(key, text::hostname));
    table.finish();
    Dns { kind, name }
}

pub(super) fn read(application: &mut Table<'_>, dns: Option<&Found<DnsType>>) -> Option<ReadEdgeIps> {
    let absent = !application.has("edge_ips");
    let table = application.table("edge_ips", "edge_ips");
    let Some(mut table) = table else {
        // The default is dynamic.
        if let Some(dns) = dns.filter(|dns| absent && dns.value == DnsType::Address) {
            application.findings().error(&dns.place, needs_static());
            return None;
        }
        let place = dns.map_or_else(|| application.place().clone(), |dns| dns.place.clone());
        return absent.then(|| dynamic(Connectivity::default(), place));
    };
    let kind = table.require("type", "\"dynamic\" or \"static\"", |table, key| {
        table.choice(key, &[("dynamic", Kind::Dynamic), ("static", Kind::Static)])
    });
    let connectivity = table.choice(
        "connectivity",
        &[("all", Connectivity::All), ("ipv4", Connectivity::Ipv4), ("ipv6", Connectivity::Ipv6)],
    );
    let empty = Fault::new("an application needs at least one edge address")
        .code(11004)
        .help("write ips = [\"198.51.100.10\"]");
    let ips = table.list("ips", Some(empty), address);
    if let (Some(kind), Some(dns)) = (&kind, dns) {
        match (kind.value, dns.value) {
            (Kind::Dynamic, DnsType::Address) => table.findings().error(&kind.place, needs_static()),
            (Kind::Static, DnsType::Cname) => table.findings().error(&dns.place, needs_address()),
            (Kind::Dynamic, DnsType::Cname) | (Kind::Static, DnsType::Address) => {}
        }
    }
    let place = table.place().clone();
    let read = match kind.as_ref().map(|kind| kind.value) {
        Some(Kind::Dynamic) => {
            if let Some(ips) = ips {
                let fault = Fault::new("dynamic edge addresses are chosen by the node").code(11004);
                table.findings().error(&ips.place, fault.help("remove `ips`, or write type = \"static\""));
            }
            Some(dynamic(connectivity.map(|found| found.value).unwrap_or_default(), place))
        }
        Some(Kind::Static) => {
            if let Some(connectivity) = connectivity {
                let fault = Fault::new("`connectivity` is for dynamic edge addresses").code(11004);
                table.findings().error(&connectivity.place, fault.help("remove it: the listed addresses decide"));
            }
            if !table.has("ips") {
                table.missing("ips", "[\"198.51.100.10\"]");
            }
            ips.and_then(|ips| read_static(&table, ips, place))
        }
        None => None,
    };
    table.finish();
    read
}

fn dynamic(connectivity: Connectivity, place: Place) -> ReadEdgeIps {
    ReadEdgeIps { value: EdgeIps::Dynamic(connectivity), place, addresses: Vec::new() }
}

fn read_static(table: &Table<'_>, ips: Found<Vec<Found<IpAddr>>>, place: Place) -> Option<ReadEdgeIps> {
    let mut found: Vec<(IpAddr, Place)> = Vec::new();
    for Found { value, place } in ips.value {
        if found.iter().any(|(other, _)| *other == value) {
            table.findings().error(&place, Fault::new(format!("{value} is listed twice")).help("remove one"));
        } else {
            found.push((value, place));
        }
    }
    found.sort_by_key(|(address, _)| *address);
    let (list, addresses): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    // The others have been reported; checks of what is left would only confuse.
    (!list.is_empty()).then_some(ReadEdgeIps { value: EdgeIps::Static(list), place, addresses })
}

fn address(value: &str) -> Result<IpAddr, Fault> {
    let address = text::address(value).map_err(|fault| fault.code(11004))?;
    match text::no_host(address) {
        Some(why) => {
            let fault = Fault::new(format!("{address} cannot be an edge address: it is {why}")).code(11004);
            Err(fault.help("write an address out of a pool, or one of this host"))
        }
        None => Ok(address),
    }
}

fn needs_static() -> Fault {
    Fault::new("dns.type = \"ADDRESS\" goes with static edge addresses")
        .code(11004)
        .help("write edge_ips = { type = \"static\", ips = [\"198.51.100.10\"] }, or dns.type = \"CNAME\"")
}

fn needs_address() -> Fault {
    Fault::new("static edge addresses go with dns.type = \"ADDRESS\"").code(11004).help("write type = \"ADDRESS\"")
}
