//! What no object can be refused for on its own: applications against each other, against the pools and the host.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use spectrum_common::limits;

use super::{
    application::Declared,
    diagnostic::{Fault, Place},
    findings::Findings,
    sni,
};
use crate::model::{AppId, DirectOrigin, Edge, EdgeIps, Sources, Transport};

/// What two applications may share an edge address by, before dynamic ones have got theirs.
#[derive(PartialEq, Eq, Hash)]
enum Address<'a> {
    Is(IpAddr),
    /// The one that a hostname will get.
    V4Of(&'a str),
    V6Of(&'a str),
}

/// Everything that the file alone can say.
pub(super) fn file(findings: &Findings<'_>, edge: &Edge, applications: &[Declared]) {
    capacity(findings, applications);
    // Those that are too many are compared with nothing: it would take the square of their number.
    let applications = applications.get(..limits::APPLICATIONS).unwrap_or(applications);
    ids(findings, applications);
    hostnames(findings, applications);
    overlaps(findings, applications);
    loops(findings, edge, applications);
}

/// What depends on the addresses of this host.
pub(crate) fn host(findings: &Findings<'_>, edge: &Edge, pools: &[Place], applications: &[Declared], host: &[IpAddr]) {
    let own: HashSet<IpAddr> = host.iter().map(IpAddr::to_canonical).collect();
    for (pool, place) in edge.pools.iter().zip(pools) {
        let mut inside: Vec<_> = own.iter().filter(|address| pool.contains(*address)).collect();
        inside.sort();
        for address in inside {
            let fault = Fault::new(format!("the pool {pool} holds {address}, an address of this host"));
            findings.error(place, fault.help(
                "a pool belongs to applications alone and its other ports are closed, SSH too: leave the host's own \
                 address out, or take it off its interface",
            ));
        }
    }
    for application in applications {
        let EdgeIps::Static(ips) = &application.edge_ips else { continue };
        for (address, place) in ips.iter().zip(&application.places.addresses) {
            if !edge.in_pool(*address) && !own.contains(address) {
                let fault = Fault::new(format!("{address} is neither in a pool nor an address of this host"));
                findings.error(place, fault.help("add its prefix to `pools` of [edge], or put it on an interface"));
            }
        }
    }
}

/// Connections to origins can only come from addresses that this host has.
pub(super) fn sources(findings: &Findings<'_>, sources: &Sources, places: &[Place], host: &[IpAddr]) {
    for (address, place) in sources.addresses.iter().zip(places) {
        if !host.iter().any(|own| own.to_canonical() == *address) {
            let fault = Fault::new(format!("{address} is not an address of this host"));
            findings.error(place, fault.help("write one that `ip address` shows, or put it on an interface"));
        }
    }
}

fn capacity(findings: &Findings<'_>, applications: &[Declared]) {
    if let Some(first) = applications.get(limits::APPLICATIONS) {
        let fault = Fault::new(format!("{} applications, and room for {}", applications.len(), limits::APPLICATIONS));
        findings
            .error(&first.places.protocol, fault.help("join neighbouring ports into a range, or use a second node"));
    }
}

fn ids(findings: &Findings<'_>, applications: &[Declared]) {
    let mut first: HashMap<AppId, &Declared> = HashMap::new();
    for application in applications {
        if let Some(other) = first.get(&application.id) {
            // The same ports of one hostname: an overlap, which says more, unless they are of different families, or
            // clients choose between them.
            if !sni::chooses(application, other)
                && shared(application, other)
                && application.protocol.ports.overlaps(other.protocol.ports)
            {
                continue;
            }
            let fault = Fault::new(format!("the application {} has the same id", name(findings, other)));
            findings.error(&application.places.id, fault.help("give one of them an `id` of its own: 32 hex digits"));
        } else {
            first.insert(application.id, application);
        }
    }
}

/// Applications of one hostname share its addresses: a name resolves to one set of them.
fn hostnames(findings: &Findings<'_>, applications: &[Declared]) {
    let mut first: HashMap<&str, &Declared> = HashMap::new();
    for application in applications {
        let other = *first.entry(application.hostname.as_str()).or_insert(application);
        let (message, help) = match (&application.edge_ips, &other.edge_ips) {
            (EdgeIps::Dynamic(_), EdgeIps::Dynamic(_)) => continue,
            (EdgeIps::Static(mine), EdgeIps::Static(theirs)) if mine == theirs => continue,
            (EdgeIps::Static(_), EdgeIps::Static(theirs)) => {
                let theirs: Vec<_> = theirs.iter().map(|address| format!("\"{address}\"")).collect();
                ("other static addresses", format!("write ips = [{}], or another hostname", theirs.join(", ")))
            }
            (EdgeIps::Static(_), EdgeIps::Dynamic(_)) => {
                ("dynamic addresses", "make both dynamic, or use another hostname".to_owned())
            }
            (EdgeIps::Dynamic(_), EdgeIps::Static(_)) => {
                ("static addresses", "list the same static addresses, or use another hostname".to_owned())
            }
        };
        let line = findings.line(&other.places.edge_ips);
        let fault = Fault::new(format!("`{}` has {message} on line {line}", application.hostname));
        findings.error(&application.places.edge_ips, fault.code(11004).help(help));
    }
}

fn overlaps(findings: &Findings<'_>, applications: &[Declared]) {
    let mut earlier: HashMap<(Address<'_>, Transport), Vec<&Declared>> = HashMap::new();
    for application in applications {
        let mut told = false;
        for address in addresses(application) {
            let shown = match &address {
                Address::Is(address) => address.to_string(),
                Address::V4Of(name) | Address::V6Of(name) => format!("the addresses of `{name}`"),
            };
            let there = earlier.entry((address, application.protocol.transport)).or_default();
            let others = there.iter().filter(|other| other.protocol.ports.overlaps(application.protocol.ports));
            let refused = others.filter(|_| !told).find_map(|other| overlap(findings, application, other, &shown));
            if let Some((place, fault)) = refused {
                findings.error(&place, fault.code(11100));
                told = true;
            }
            there.push(application);
        }
    }
}

/// None: clients choose between the two.
fn overlap(findings: &Findings<'_>, application: &Declared, other: &Declared, at: &str) -> Option<(Place, Fault)> {
    let theirs = name(findings, other);
    if sni::chooses(application, other) {
        return sni::not_shared(application, other, &theirs);
    }
    let fault = Fault::new(format!("`{}` on {at} overlaps the application {theirs}", application.protocol));
    let help = "give one of them other ports or another edge address, or let clients choose by name with `sni`";
    Some((application.places.protocol.clone(), fault.help(help)))
}

/// An origin that is the edge itself: a connection would be relayed to itself until nothing is left.
fn loops(findings: &Findings<'_>, edge: &Edge, applications: &[Declared]) {
    let mut fixed: HashMap<IpAddr, Vec<&Declared>> = HashMap::new();
    for application in applications {
        if let EdgeIps::Static(ips) = &application.edge_ips {
            for address in ips {
                fixed.entry(*address).or_default().push(application);
            }
        }
    }
    let owner = |origin: &DirectOrigin| {
        fixed
            .get(&origin.address)?
            .iter()
            .find(|other| other.protocol.transport == origin.transport && other.protocol.ports.overlaps(origin.ports))
    };
    for application in applications {
        for (origin, place) in application.origins.direct().iter().zip(&application.places.origins) {
            let fault = if let Some(pool) = edge.pools.iter().find(|pool| pool.contains(&origin.address)) {
                Fault::new(format!("the origin {origin} is in the pool {pool}: the edge would connect to itself"))
            } else if let Some(owner) = owner(origin) {
                let owner = name(findings, owner);
                Fault::new(format!("the origin {origin} is an edge address and port of the application {owner}"))
            } else {
                continue;
            };
            findings.error(place, fault.code(11002).help("write the address of the origin server behind this node"));
        }
    }
}

fn addresses(application: &Declared) -> Vec<Address<'_>> {
    let name = application.hostname.as_str();
    match &application.edge_ips {
        EdgeIps::Static(ips) => ips.iter().copied().map(Address::Is).collect(),
        EdgeIps::Dynamic(connectivity) => {
            let v4 = connectivity.ipv4().then_some(Address::V4Of(name));
            v4.into_iter().chain(connectivity.ipv6().then_some(Address::V6Of(name))).collect()
        }
    }
}

fn shared(one: &Declared, other: &Declared) -> bool {
    let theirs = addresses(other);
    addresses(one).iter().any(|address| theirs.contains(address))
}

/// An application as a message names it.
fn name(findings: &Findings<'_>, application: &Declared) -> String {
    let line = findings.line(&application.places.protocol);
    format!("`{}` {} of line {line} (id {})", application.hostname, application.protocol, application.id)
}
