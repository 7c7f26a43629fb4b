//! `[[applications]]`: the product's application object, without what the node adds to it (its addresses).

use std::net::IpAddr;

use super::{
    diagnostic::{Fault, Place},
    edge_ips, extensions, origins, proxy_protocol,
    reader::Table,
    tls,
    zone::{self, Zones},
};
use crate::model::{
    AppId, Application, Balance, ConnectionLimits, EdgeIps, HealthCheck, Origins, PortRange, Protocol, ProxyProtocol,
    Rates, ServerNames, SpliceMode, SynCookies, Timeouts, Tls, Transport, UdpFilters, ZoneId,
};

/// An application of the file: everything but the addresses it gets.
#[derive(Clone, Debug)]
pub struct Declared {
    pub id: AppId,
    pub zone: ZoneId,
    /// In lower case.
    pub hostname: String,
    pub protocol: Protocol,
    pub edge_ips: EdgeIps,
    pub origins: Origins,
    pub balance: Balance,
    pub health_check: Option<HealthCheck>,
    pub limits: ConnectionLimits,
    pub ip_firewall: bool,
    pub proxy_protocol: ProxyProtocol,
    pub tls: Tls,
    pub sni: ServerNames,
    pub timeouts: Timeouts,
    pub splice: SpliceMode,
    pub syn_cookies: SynCookies,
    pub rates: Rates,
    pub udp_filters: UdpFilters,
    pub(crate) places: Places,
}

/// Where the parts stand that later checks speak about.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) id: Place,
    pub(crate) protocol: Place,
    pub(crate) edge_ips: Place,
    pub(crate) sni: Option<Place>,
    /// One for each static address.
    pub(crate) addresses: Vec<Place>,
    /// One for each origin by address.
    pub(crate) origins: Vec<Place>,
}

impl Declared {
    /// The application, once it has its addresses.
    pub(crate) fn at(&self, addresses: Vec<IpAddr>) -> Application {
        Application {
            id: self.id,
            zone: self.zone,
            hostname: self.hostname.clone(),
            protocol: self.protocol.clone(),
            edge_ips: self.edge_ips.clone(),
            addresses,
            origins: self.origins.clone(),
            balance: self.balance,
            health_check: self.health_check.clone(),
            limits: self.limits,
            ip_firewall: self.ip_firewall,
            proxy_protocol: self.proxy_protocol,
            tls: self.tls.clone(),
            sni: self.sni.clone(),
            timeouts: self.timeouts,
            splice: self.splice,
            syn_cookies: self.syn_cookies,
            rates: self.rates,
            udp_filters: self.udp_filters,
        }
    }
}

pub(super) fn read(root: &mut Table<'_>, zones: &Zones) -> Vec<Declared> {
    root.tables("applications", "an application").into_iter().filter_map(|table| read_one(table, zones)).collect()
}

fn read_one(mut table: Table<'_>, zones: &Zones) -> Option<Declared> {
    let header = table.place().clone();
    let id = table.parsed("id", zone::id);
    let protocol = table.require("protocol", "\"tcp/22\"", |table, key| table.parsed(key, protocol));
    let dns = edge_ips::read_dns(&mut table);
    let edge_ips = edge_ips::read(&mut table, dns.kind.as_ref());
    let origins = origins::read(&mut table, protocol.as_ref());
    let named = table.string("zone");
    let ip_firewall = table.boolean("ip_firewall").is_some_and(|found| found.value);
    let transport = protocol.as_ref().map(|found| found.value.transport);
    let version = proxy_protocol::read(&mut table, transport);
    let mode = tls::mode(&mut table, transport);
    let extensions = extensions::read(&mut table, transport);
    let proxy_protocol = proxy_protocol::together(version, extensions.proxy_tlvs, mode, &table);
    let chosen_by_name = extensions.sni.is_some();
    let tls = tls::together(mode, extensions.tls, chosen_by_name, &table);
    let (sni, names_place) = extensions.sni.map(|found| (found.value, found.place)).unzip();
    read_unbuilt(&mut table);
    let zone = dns.name.as_ref().and_then(|hostname| zones.of(hostname, named.as_ref(), &table));
    table.finish_with(|key| extensions::is_one(key).then(|| format!("it belongs into extensions = {{ {key} = … }}")));

    let (protocol, hostname, edge_ips, origins) = (protocol?, dns.name?, edge_ips?, origins?);
    Some(Declared {
        id: id.as_ref().map_or_else(|| derive(&hostname.value, &protocol.value), |found| found.value),
        zone: zone?,
        hostname: hostname.value,
        protocol: protocol.value,
        edge_ips: edge_ips.value,
        origins: origins.value,
        balance: extensions.balance,
        health_check: extensions.health_check,
        limits: extensions.limits,
        ip_firewall,
        proxy_protocol,
        tls,
        sni: sni.unwrap_or_default(),
        timeouts: extensions.timeouts,
        splice: extensions.splice,
        syn_cookies: extensions.syn_cookies,
        rates: extensions.rates,
        udp_filters: extensions.udp_filters,
        places: Places {
            id: id.map_or(header, |found| found.place),
            protocol: protocol.place,
            edge_ips: edge_ips.place,
            addresses: edge_ips.addresses,
            sni: names_place,
            origins: origins.places,
        },
    })
}

/// An application that was given no id is known by its hostname and its ports, however they were written.
fn derive(hostname: &str, protocol: &Protocol) -> AppId {
    AppId::derive(&[hostname, &format!("{}/{}", protocol.transport, protocol.ports)])
}

fn protocol(value: &str) -> Result<Protocol, Fault> {
    let protocol: Protocol = value.parse().map_err(|error| {
        let fault = Fault::new(format!("{error}")).code(13002);
        match value.to_ascii_lowercase().trim() {
            tidy if tidy != value && tidy.parse::<Protocol>().is_ok() => fault.help(format!("write \"{tidy}\"")),
            tidy => match tidy.parse::<u16>().map(PortRange::single) {
                Ok(Ok(port)) => fault.help(format!("write \"tcp/{port}\"")),
                _ => fault.help("write \"tcp/22\" or \"tcp/1000-2000\""),
            },
        }
    })?;
    if protocol.transport == Transport::Udp {
        return Err(
            Fault::later("an application over UDP", "write a tcp protocol, or remove the application").code(13002)
        );
    }
    Ok(protocol)
}

/// Fields of the product that have one built value, or none.
fn read_unbuilt(table: &mut Table<'_>) {
    table.only(
        "traffic_type",
        "direct",
        &["http", "https", "worker"],
        "write \"direct\": bytes are relayed as they are",
    );
    // Stored and echoed by the product's API; one node has no routes to choose between.
    table.boolean("argo_smart_routing");
    table.later("virtual_network_id", "write the origin's address as this host reaches it");
    table.later("origin_worker_id", "remove it");
}
