//! A world of three network namespaces, joined by veth pairs, that goes with the test process however it ends.
//!
//! ```text
//!   client                          edge                                      origin
//!   eth0 192.0.2.2/24       ──  eth0 192.0.2.1/24
//!        192.0.2.66/24               eth1 203.0.113.1/24          ──  eth0 203.0.113.2/24
//!        2001:db8:c::2/64            2001:db8:c::1/64
//!        2001:db8:c::66/64           2001:db8:f::1/64                      2001:db8:f::2/64
//! ```
//! The pools `198.51.100.0/24` and `2001:db8:51::/64` are routed by the client to the edge, and nobody has their addresses
//! until `spectrum` makes them local. Nothing is forwarded: a byte that arrives at the origin went through a proxy.
//!
//! Namespaces are anonymous (they live as long as the threads in them), each has mounts of its own (`/sys`,
//! `/sys/fs/bpf`, `/run`, `/var/lib`), and every child dies with its parent: nothing is left behind, and worlds run in parallel.

pub mod acme;
pub mod client;
pub mod config;
pub mod databases;
pub mod dns;
pub mod edge;
pub mod fleet;
pub mod lineage;
pub mod load;
pub mod namespace;
pub mod netem;
pub mod origin;
pub mod pki;
pub mod process;
pub mod server;
pub mod systemd;
pub mod things;
pub mod told;
pub mod trafgen;
pub mod unwrap;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use client::Client;
use edge::Edge;
use namespace::Namespace;
use origin::Origin;

/// The client's ordinary address.
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
/// The client's other address, the one that rules are about.
pub const SHUNNED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));
pub const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 2));
pub const SHUNNED_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x66));

/// The edge's own addresses on the client's side: the host's, not the pool's.
pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1));

/// Addresses of the pools.
pub const POOL: &str = "198.51.100.0/24";
pub const POOL_V6: &str = "2001:db8:51::/64";
pub const EDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));
pub const EDGE_OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 11));
pub const EDGE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x10));

pub const ORIGIN: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
pub const ORIGIN_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2));
/// Addresses behind the edge that nobody has: an origin that is unreachable at once, and one that never answers.
pub const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 250));

/// Client, edge and origin. Dropping it ends everything that runs in it.
pub struct World {
    client: Client,
    edge: Edge,
    origin: Origin,
}

impl World {
    /// Panics with what to do about it where the privileges are missing.
    pub fn new() -> Self {
        let edge = Namespace::first("edge");
        let (client, origin) = (edge.sibling("client"), edge.sibling("origin"));
        front(&client, &edge);
        edge.ip(&[
            &format!("link add eth1 index 11 type veth peer name eth0 netns {}", origin.path()),
            "addr add 203.0.113.1/24 dev eth1",
            "addr add 2001:db8:f::1/64 dev eth1 nodad",
            "link set lo up",
            "link set eth1 up",
        ]);
        client.ip(&["link set lo up"]);
        origin.ip(&[
            "addr add 203.0.113.2/24 dev eth0",
            "addr add 2001:db8:f::2/64 dev eth0 nodad",
            "link set lo up",
            "link set eth0 up",
        ]);
        for (namespace, link) in [(&edge, "eth1"), (&origin, "eth0")] {
            namespace.await_link(link);
        }
        Self { client: Client::new(client), edge: Edge::new(edge), origin: Origin::new(origin) }
    }

    /// Takes the link between client and edge away and makes it anew, as a driver or an administrator may.
    pub fn replug(&self) {
        self.edge.namespace().ip(&["link delete eth0"]);
        front(self.client.namespace(), self.edge.namespace());
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// The link between client and edge.
fn front(client: &Namespace, edge: &Namespace) {
    edge.ip(&[
        // An index that differs from the other end's: else the kernel takes its time to notice that the link is up
        // (`linkwatch_urgent_event`, net/core/link_watch.c).
        &format!("link add eth0 index 10 type veth peer name eth0 netns {}", client.path()),
        "addr add 192.0.2.1/24 dev eth0",
        "addr add 2001:db8:c::1/64 dev eth0 nodad",
        "link set eth0 up",
    ]);
    client.ip(&[
        "addr add 192.0.2.2/24 dev eth0",
        "addr add 192.0.2.66/24 dev eth0",
        "addr add 2001:db8:c::2/64 dev eth0 nodad",
        "addr add 2001:db8:c::66/64 dev eth0 nodad",
        "link set eth0 up",
        "route add 198.51.100.0/24 via 192.0.2.1",
        "route add 2001:db8:51::/64 via 2001:db8:c::1",
    ]);
    for namespace in [client, edge] {
        namespace.await_link("eth0");
    }
}
