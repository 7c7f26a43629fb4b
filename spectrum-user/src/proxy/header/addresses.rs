//! The two ends of a proxied connection, of one family because a header has one.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::proxy::{ClientAddr, EdgeAddr};

/// Who connected, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    V4 { client: SocketAddrV4, edge: SocketAddrV4 },
    V6 { client: SocketAddrV6, edge: SocketAddrV6 },
}

impl Addresses {
    /// Those of a connection. Both ends of a socket are of one family; an IPv4 end beside an IPv6 one is written as IPv6.
    pub fn between(client: ClientAddr, edge: EdgeAddr) -> Self {
        match (client.socket_addr(), edge.socket_addr()) {
            (SocketAddr::V4(client), SocketAddr::V4(edge)) => Self::V4 { client, edge },
            (client, edge) => Self::V6 { client: as_v6(client), edge: as_v6(edge) },
        }
    }

    pub fn client(&self) -> ClientAddr {
        ClientAddr::new(match *self {
            Self::V4 { client, .. } => client.into(),
            Self::V6 { client, .. } => client.into(),
        })
    }

    pub fn edge(&self) -> EdgeAddr {
        EdgeAddr::new(match *self {
            Self::V4 { edge, .. } => edge.into(),
            Self::V6 { edge, .. } => edge.into(),
        })
    }
}

/// Without flow label and scope, which a header has no room for.
fn as_v6(address: SocketAddr) -> SocketAddrV6 {
    let ip = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    SocketAddrV6::new(ip, address.port(), 0, 0)
}
