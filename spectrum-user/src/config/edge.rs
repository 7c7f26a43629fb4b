//! `[edge]`: the addresses that are dedicated to applications.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{
    diagnostic::{Fault, Place},
    reader::{Found, Table},
    text,
};
use crate::model::{ClosedPorts, Edge};

/// The model's `Edge`, and where its pools stand.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadEdge {
    pub(super) edge: Edge,
    pub(super) pools: Vec<Place>,
}

pub(super) fn read(root: &mut Table<'_>) -> ReadEdge {
    let Some(mut table) = root.table("edge", "[edge]") else { return ReadEdge::default() };
    let pools = table.list("pools", None, pool).map(|found| found.value).unwrap_or_default();
    let closed = table.choice("closed_ports", &[("drop", ClosedPorts::Drop), ("reset", ClosedPorts::Reset)]);
    let mut read = ReadEdge::default();
    read.edge.closed_ports = closed.map(|found| found.value).unwrap_or_default();
    for Found { value: pool, place } in pools {
        let other = read.edge.pools.iter().zip(&read.pools).find(|(other, _)| overlap(pool, **other));
        if let Some((other, at)) = other {
            let line = table.findings().line(at);
            let fault = if pool == *other {
                Fault::new(format!("the pool {pool} is listed twice (line {line})"))
            } else {
                Fault::new(format!("the pool {pool} overlaps the pool {other} of line {line}"))
            };
            table.findings().error(&place, fault.help("remove one of them"));
            continue;
        }
        read.edge.pools.push(pool);
        read.pools.push(place);
    }
    table.finish();
    read
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn pool(value: &str) -> Result<IpNet, Fault> {
    let pool = prefix(value)?;
    let refused = |why: &str, help: &str| Err(Fault::new(format!("`{value}` cannot be a pool: {why}")).help(help));
    if pool.trunc() != pool {
        return refused("it has bits set behind its prefix", &format!("write {}", pool.trunc()));
    }
    let widest = if pool.addr().is_ipv4() { WIDEST_V4 } else { WIDEST_V6 };
    // Also what refuses 0.0.0.0/0 and ::/0: the host would believe that the whole Internet is itself.
    if pool.prefix_len() < widest {
        return refused(&format!("it is wider than /{widest}"), "write the prefix that is dedicated to the edge");
    }
    if let Some(why) = text::no_host(pool.network()).or_else(|| text::no_host(pool.broadcast())) {
        return refused(&format!("it holds {why}"), "write a prefix of unicast addresses");
    }
    for own in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        if pool.contains(&own) {
            return refused(&format!("it holds {own}"), "a pool on loopback is a part of it such as 127.77.0.0/24");
        }
    }
    Ok(pool)
}

/// A prefix in its one canonical form, host bits as they were written.
pub(super) fn prefix(value: &str) -> Result<IpNet, Fault> {
    let prefix: IpNet = value.parse().map_err(|_| {
        let fault = Fault::new(format!("`{value}` is not a prefix"));
        match value.parse::<IpAddr>() {
            Ok(address) => fault.help(format!("write {}", IpNet::from(address))),
            Err(_) => fault.help("write an address and a length: 198.51.100.0/24 or 2001:db8:51::/64"),
        }
    })?;
    if let IpNet::V6(v6) = prefix
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return Err(Fault::new(format!("`{value}` is an IPv4 prefix written as IPv6")).help("write it as IPv4"));
    }
    Ok(prefix)
}

const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 16;
