//! The network of [`World`] with an attacker beside the client: where connections and streams meet floods.
//!
//! ```text
//! client 10.1.0.2, 10.64.0.0/10 --- edge0 (edge) edge1 --- origin
//! crowd (generator) gflood --- flood0 (edge)      void0 --- void1 (crowd): where a flood harms nobody
//! ```
//! The flood has an interface of its own, as floods have queues of their own on a network card: a single veth queue would
//! move its work to whichever core last sent into it. The edge's default route leads to the crowd, so that the kernel has
//! a way back to whoever the flood claims to come from.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

use super::generator::Flood;
use super::lane::{Crowd, Link, lost, mac, received};
use super::shape::Shape;
use crate::bpf::{XDP_DROP, XDP_PASS};
use crate::contestant::direct::EmptyXdp;
use crate::origin::Origin;
use crate::world::{EDGE_DEVICE, World, address, ip};

/// The edge's interface that floods come by.
pub(super) const FLOOD_DEVICE: &str = "flood0";

pub(super) struct Field<'a> {
    pub(super) world: &'a World,
    pub(super) origin: &'a Origin,
    crowd: &'a Crowd,
    flood: Link,
    void: Link,
    /// At the void's end, and at the client's: a veth device only takes XDP's answers where it polls.
    _programs: [EmptyXdp; 2],
    clients: AtomicU32,
}

impl<'a> Field<'a> {
    pub(super) fn new(world: &'a World, origin: &'a Origin, crowd: &'a Crowd) -> Result<Self> {
        let flood = crowd.join(&world.edge, "gflood", FLOOD_DEVICE)?;
        let void = crowd.join(&crowd.namespace, "void0", "void1")?;
        let programs = [
            EmptyXdp::attach_to(&crowd.namespace, "void1", XDP_DROP)?,
            EmptyXdp::attach_to(&world.client, "client0", XDP_PASS)?,
        ];
        address("edge", FLOOD_DEVICE, "10.3.0.1/24")?;
        // As Linux has it by default: long queues hide for a while that nothing answers them.
        for queue in ["net/ipv4/tcp_max_syn_backlog", "net/core/somaxconn"] {
            world.edge.sysctl(queue, "4096")?;
        }
        for device in [EDGE_DEVICE, FLOOD_DEVICE] {
            world.edge.sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "0")?;
        }
        let neighbour = |address: &str, mac: [u8; 6], device: &str| {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            ip(&format!("-n edge neighbour replace {address} lladdr {mac} dev {device} nud permanent"))
        };
        neighbour("10.3.0.2", flood.way.from, FLOOD_DEVICE)?;
        neighbour("10.1.0.2", mac(&world.client, "client0")?, EDGE_DEVICE)?;
        ip("-n edge route replace default via 10.3.0.2")?;
        ip("-n edge route replace 10.64.0.0/10 via 10.1.0.2")?;
        ip("-n client route replace local 10.64.0.0/10 dev lo")?;
        Ok(Self { world, origin, crowd, flood, void, _programs: programs, clients: AtomicU32::new(0) })
    }

    /// A client that nobody has seen before: what the kernel remembers of proven peers helps none of them.
    pub(super) fn fresh_client(&self) -> IpAddr {
        const FIRST: u32 = Ipv4Addr::new(10, 64, 0, 1).to_bits();
        Ipv4Addr::from_bits(FIRST + self.clients.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// Floods the edge.
    pub(super) fn flood(&self, shape: &Shape) -> Result<Flood> {
        Flood::start(&self.crowd.namespace, shape.load(self.flood.way)?)
    }

    /// The same work for the generator, aimed at a program that drops.
    pub(super) fn flood_the_void(&self, shape: &Shape) -> Result<Flood> {
        Flood::start(&self.crowd.namespace, shape.load(self.void.way)?)
    }

    /// Packets of floods that reached the edge so far.
    pub(super) fn received(&self) -> Result<u64> {
        received(&self.world.edge, FLOOD_DEVICE)
    }

    /// Packets of floods that the edge's interface had no room for so far.
    pub(super) fn lost(&self) -> Result<u64> {
        lost(&self.world.edge, FLOOD_DEVICE)
    }
}

/// Packets that arrived between two moments; there must be some.
pub(super) fn arrived(before: u64, after: u64) -> Result<u64> {
    ensure!(after > before, "nothing of the flood reached the edge");
    Ok(after - before)
}
