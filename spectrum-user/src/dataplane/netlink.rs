//! Interfaces and local routes, asked of the kernel and told to it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use ipnet::IpNet;
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_route::{
        link::{LinkAttribute, LinkHeader, LinkLayerType, LinkXdp, XdpAttached},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
    },
};
use tokio::task::JoinHandle;

/// Marks the routes that are ours (`ip route show table local proto 213`), so that exactly those are taken away.
const ROUTE_PROTOCOL: RouteProtocol = RouteProtocol::Other(213);
/// Routing table 255: local addresses.
const TABLE_LOCAL: u32 = 255;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub framing: Framing,
    pub xdp: Option<InterfaceXdp>,
}

/// What frames of an interface begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Ethernet,
    /// That of a tunnel or a modem, by the kernel's name for it (`ARPHRD_`, `include/uapi/linux/if_arp.h`).
    Other(LinkLayerType),
}

/// The XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceXdp {
    pub mode: AttachedMode,
    pub program_id: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver, before the kernel allocates anything.
    Native,
    /// In the kernel's receive path, for every driver, at a higher price.
    Generic,
    /// In the card, or several programs at once.
    Other,
}

impl AttachedMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Other => "other",
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct NetlinkError {
    doing: String,
    #[source]
    source: rtnetlink::Error,
}

/// Tells when interfaces come, go or change.
pub struct InterfaceWatch {
    messages: BoxStream<'static, ()>,
    connection: JoinHandle<()>,
    changed: bool,
}

/// Changes come in flocks: one look is enough for all that happen within this time.
const SETTLE: Duration = Duration::from_millis(50);

impl Drop for InterfaceWatch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl InterfaceWatch {
    /// Within a tokio runtime.
    pub fn open() -> io::Result<Self> {
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        let messages = messages.map(drop).boxed();
        Ok(Self { messages, connection: tokio::spawn(connection), changed: false })
    }

    /// Ready some time after a change. Cancel safe.
    pub async fn changed(&mut self) {
        if !self.changed && self.messages.next().await.is_none() {
            // The kernel has closed the socket: nothing more will be told.
            std::future::pending::<()>().await;
        }
        self.changed = true;
        tokio::time::sleep(SETTLE).await;
        while self.messages.next().now_or_never().flatten().is_some() {}
        self.changed = false;
    }
}

/// A connection to the kernel's routing subsystem, in the network namespace of the thread that opened it.
pub struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Within a tokio runtime.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    pub async fn interfaces(&self) -> Result<Vec<Interface>, NetlinkError> {
        let error = |source| NetlinkError { doing: "list the network interfaces".to_owned(), source };
        let links: Vec<_> = self.handle.link().get().execute().try_collect().await.map_err(error)?;
        Ok(links.into_iter().filter_map(|link| interface(&link.header, link.attributes)).collect())
    }

    /// The local routes that this program has added.
    pub async fn pool_routes(&self) -> Result<Vec<IpNet>, NetlinkError> {
        let error = |source| NetlinkError { doing: "list the local routes".to_owned(), source };
        let mut pools = Vec::new();
        for question in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let routes: Vec<_> = self.handle.route().get(question).execute().try_collect().await.map_err(error)?;
            pools.extend(routes.iter().filter_map(pool_of));
        }
        pools.sort();
        Ok(pools)
    }

    /// Makes a pool local. False: somebody else's route does that already, and it stays theirs.
    pub async fn add_pool_route(&self, pool: IpNet) -> Result<bool, NetlinkError> {
        match self.handle.route().add(pool_route(pool)).execute().await {
            Ok(()) => Ok(true),
            Err(error) if is_errno(&error, libc::EEXIST) => Ok(false),
            Err(source) => Err(NetlinkError { doing: format!("add the local route for pool {pool}"), source }),
        }
    }

    /// Makes exactly these pools local. Returns those that somebody else had made so.
    pub async fn route_pools(&self, want: &[IpNet]) -> Result<Vec<IpNet>, NetlinkError> {
        let have = self.pool_routes().await?;
        for pool in have.iter().filter(|pool| !want.contains(pool)) {
            self.remove_pool_route(*pool).await?;
        }
        let mut foreign = Vec::new();
        for pool in want.iter().filter(|pool| !have.contains(pool)) {
            if !self.add_pool_route(*pool).await? {
                foreign.push(*pool);
            }
        }
        Ok(foreign)
    }

    pub async fn remove_pool_route(&self, pool: IpNet) -> Result<(), NetlinkError> {
        match self.handle.route().del(pool_route(pool)).execute().await {
            Ok(()) => Ok(()),
            Err(error) if is_errno(&error, libc::ESRCH) => Ok(()),
            Err(source) => Err(NetlinkError { doing: format!("remove the local route for pool {pool}"), source }),
        }
    }
}

fn is_errno(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}

/// `ip route add local POOL dev lo src 127.0.0.1 proto 213`.
///
/// Without a preferred source, this host would talk to the pool from the pool's own address (`ip_route_output_key_hash_rcu`
/// takes the destination), and the answers would meet closed ports.
fn pool_route(pool: IpNet) -> RouteMessage {
    match pool {
        IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .pref_source(Ipv4Addr::LOCALHOST)
            .output_interface(LOOPBACK)
            .table_id(TABLE_LOCAL)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .protocol(ROUTE_PROTOCOL)
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .pref_source(Ipv6Addr::LOCALHOST)
            .output_interface(LOOPBACK)
            .table_id(TABLE_LOCAL)
            .kind(RouteType::Local)
            .protocol(ROUTE_PROTOCOL)
            .build(),
    }
}

/// `lo` has index 1 in every network namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK: u32 = 1;

fn pool_of(route: &RouteMessage) -> Option<IpNet> {
    if route.header.protocol != ROUTE_PROTOCOL || route.header.kind != RouteType::Local {
        return None;
    }
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })?;
    IpNet::new(destination, route.header.destination_prefix_length).ok()
}

fn interface(header: &LinkHeader, attributes: Vec<LinkAttribute>) -> Option<Interface> {
    let mut name = None;
    let mut xdp = None;
    for attribute in attributes {
        match attribute {
            LinkAttribute::IfName(found) => name = Some(found),
            LinkAttribute::Xdp(found) => xdp = interface_xdp(&found),
            _ => {}
        }
    }
    let framing = match header.link_layer_type {
        // Loopback has the header too, with addresses of zeros (drivers/net/loopback.c).
        LinkLayerType::Ether | LinkLayerType::Loopback => Framing::Ethernet,
        other => Framing::Other(other),
    };
    Some(Interface { index: header.index, name: name?, framing, xdp })
}

fn interface_xdp(attributes: &[LinkXdp]) -> Option<InterfaceXdp> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(XdpAttached::Driver) => Some(AttachedMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(AttachedMode::Generic),
        LinkXdp::Attached(_) => Some(AttachedMode::Other),
        _ => None,
    })?;
    let program_id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    Some(InterfaceXdp { mode, program_id: program_id.unwrap_or_default() })
}
