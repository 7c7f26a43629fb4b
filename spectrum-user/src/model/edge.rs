//! The addresses that clients connect to.

use std::net::IpAddr;

use ipnet::IpNet;

/// What the node gives to its applications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// Prefixes dedicated to the edge: made local by the program, and nothing else may answer there.
    pub pools: Vec<IpNet>,
    pub closed_ports: ClosedPorts,
    pub udp_fragments: UdpFragments,
}

impl Edge {
    /// Whether the address is out of a pool, and so dedicated to the edge.
    pub fn in_pool(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| pool.contains(&address))
    }
}

/// What happens to packets for ports of pool addresses that no application owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClosedPorts {
    /// XDP drops them.
    #[default]
    Drop,
    /// The kernel answers with a reset.
    Reset,
}

/// What happens to fragments of datagrams for applications and pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpFragments {
    /// XDP drops them.
    #[default]
    Drop,
    /// The kernel puts them together.
    Pass,
}

/// The addresses an application asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeIps {
    /// The node chooses them out of its pools, the same ones for every application of a hostname.
    Dynamic(Connectivity),
    Static(Vec<IpAddr>),
}

/// The families that dynamic edge addresses come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connectivity {
    #[default]
    All,
    Ipv4,
    Ipv6,
}

impl Connectivity {
    pub const fn ipv4(self) -> bool {
        matches!(self, Self::All | Self::Ipv4)
    }

    pub const fn ipv6(self) -> bool {
        matches!(self, Self::All | Self::Ipv6)
    }
}
