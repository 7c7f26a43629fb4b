//! An application: edge addresses and ports on one side, origins on the other.

use std::{net::IpAddr, time::Duration};

use super::{
    AppId, Balance, ConnectionLimits, EdgeIps, HealthCheck, Origins, PacketRate, Protocol, ProxyProtocol, ServerNames,
    Tls, ZoneId,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    pub id: AppId,
    pub zone: ZoneId,
    /// `dns.name`, in lower case.
    pub hostname: String,
    pub protocol: Protocol,
    /// What it asks for.
    pub edge_ips: EdgeIps,
    /// What it has: canonical (never IPv4-mapped), sorted, at least one.
    pub addresses: Vec<IpAddr>,
    pub origins: Origins,
    pub balance: Balance,
    /// None: only dials tell whether an origin lives.
    pub health_check: Option<HealthCheck>,
    pub limits: ConnectionLimits,
    pub ip_firewall: bool,
    pub proxy_protocol: ProxyProtocol,
    pub tls: Tls,
    /// By what clients choose it among applications of one address. Empty: it takes whoever chooses none.
    pub sni: ServerNames,
    pub timeouts: Timeouts,
    pub splice: SpliceMode,
    pub syn_cookies: SynCookies,
    pub rates: Rates,
    /// Of no meaning over TCP.
    pub udp_filters: UdpFilters,
}

/// How long the proxy waits for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the origin to accept a connection.
    pub connect: Duration,
    /// For a TLS handshake to be over, on either side.
    pub handshake: Duration,
    /// For any byte in either direction; none: TCP keepalive alone decides.
    pub idle: Option<Duration>,
    pub keepalive: Keepalive,
    /// How long sent bytes may stay unacknowledged, closed windows included.
    pub user: Duration,
}

/// When a silent peer is asked whether it is there. Whole seconds: the kernel takes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub idle: Duration,
    pub interval: Duration,
    /// Questions without an answer that end a connection.
    pub count: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            idle: None,
            keepalive: Keepalive::default(),
            // It also takes the place of the keepalive count, so it is shorter than idle + interval * count: what
            // answers nothing is gone 90 seconds after its last sign of life.
            user: Duration::from_secs(90),
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_mins(1), interval: Duration::from_secs(15), count: 4 }
    }
}

/// How bytes are moved between two plain TCP sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpliceMode {
    /// Copy while a connection is small or interactive, `splice(2)` once it is bulk.
    #[default]
    Auto,
    /// `splice(2)` from the first byte.
    Splice,
    /// Through a buffer in userspace.
    Copy,
}

/// Whether XDP answers SYNs with cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynCookies {
    /// While the kernel gives cookies: its SYN queue is full, or a flood is under way.
    #[default]
    Auto,
    /// Every SYN, flood or not.
    Always,
    /// The kernel sees every SYN.
    Never,
}

/// Datagrams that are dropped because no client sends such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpFilters {
    /// From ports that reflectors answer from.
    pub reflection: bool,
    /// Answers, by their first bytes.
    pub signatures: bool,
}

impl Default for UdpFilters {
    fn default() -> Self {
        Self { reflection: true, signatures: true }
    }
}

/// How much may be asked of an application: requests for connections, or datagrams. None: as much as comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// By one IPv4 address, or one IPv6 /64.
    pub per_source: Option<PacketRate>,
    /// By all together, in equal shares where it is not enough for all.
    pub total: Option<PacketRate>,
}
