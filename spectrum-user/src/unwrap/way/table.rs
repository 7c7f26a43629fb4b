//! The rules and the routes themselves, told to the kernel.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, IpVersion, RouteMessageBuilder,
    packet_route::{
        IpProtocol,
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange},
    },
};
use tokio::task::JoinHandle;

/// Table, priority and protocol: the number that marks what is this program's.
const NUMBER: u8 = 213;
const PROTOCOL: RouteProtocol = RouteProtocol::Other(NUMBER);
/// `lo` has index 1 in every network namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error(
        "somebody else uses {what} {NUMBER} for {version} (`ip {flag} {list}`), which `spectrum unwrap` needs for itself: give theirs another number"
    )]
    Others { what: &'static str, version: &'static str, flag: &'static str, list: &'static str },
    #[error("cannot {doing} for {version}; it needs CAP_NET_ADMIN{more}")]
    Netlink {
        doing: &'static str,
        version: &'static str,
        more: &'static str,
        #[source]
        source: rtnetlink::Error,
    },
}

/// A connection to the kernel's routing subsystem.
pub(super) struct Table {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Table {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[derive(Clone, Copy, Debug)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn of(service: SocketAddr) -> Self {
        if service.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Those that the kernel has: without IPv6 (`ipv6.disable=1`) there is nothing to ask.
    fn all() -> impl Iterator<Item = Self> {
        let ipv6 = std::path::Path::new("/proc/sys/net/ipv6").is_dir();
        std::iter::once(Self::V4).chain(ipv6.then_some(Self::V6))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    const fn version(self) -> IpVersion {
        match self {
            Self::V4 => IpVersion::V4,
            Self::V6 => IpVersion::V6,
        }
    }

    fn error(self, doing: &'static str) -> impl FnOnce(rtnetlink::Error) -> TableError {
        let more = match self {
            Self::V4 => "",
            Self::V6 => ", and net.ipv6.conf.lo.disable_ipv6 = 0",
        };
        move |source| TableError::Netlink { doing, version: self.name(), more, source }
    }
}

impl Table {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// An error where the number means something else here already.
    pub(super) async fn refuse_others(&self, services: &[SocketAddr]) -> Result<(), TableError> {
        for family in services.iter().copied().map(Family::of) {
            let others = |what, list| TableError::Others { what, version: family.name(), flag: family.flag(), list };
            let rules = self.rules(family).await?;
            if rules.iter().any(|rule| concerns(rule) && !is_ours(rule)) {
                return Err(others("rules of priority or table", "rule show"));
            }
            let routes = self.routes(family).await?;
            if routes.iter().any(|route| route.header.protocol != PROTOCOL) {
                return Err(others("routing table", "route show table 213"));
            }
        }
        Ok(())
    }

    /// What is there already stays. True: something was not.
    pub(super) async fn add(&self, services: &[SocketAddr]) -> Result<bool, TableError> {
        let mut missing = false;
        for &service in services {
            let family = Family::of(service);
            let added = self.handle.route().add(everything_is_local(family)).execute().await;
            missing |= unless(added, libc::EEXIST)
                .map_err(family.error("add the route that makes clients' addresses local"))?;
            let mut rule = self.handle.rule().add();
            *rule.message_mut() = from(service);
            missing |= unless(rule.execute().await, libc::EEXIST)
                .map_err(family.error("add the rule for what the service sends"))?;
        }
        Ok(missing)
    }

    /// Ours and nobody else's; rules first, so that none leads to an empty table.
    pub(super) async fn remove(&self) -> Result<(), TableError> {
        for family in Family::all() {
            for rule in self.rules(family).await?.into_iter().filter(is_ours) {
                unless(self.handle.rule().del(rule).execute().await, libc::ENOENT)
                    .map_err(family.error("remove the rule"))?;
            }
            for route in self.routes(family).await? {
                if route.header.protocol == PROTOCOL {
                    unless(self.handle.route().del(route).execute().await, libc::ESRCH)
                        .map_err(family.error("remove the route"))?;
                }
            }
        }
        Ok(())
    }

    async fn rules(&self, family: Family) -> Result<Vec<RuleMessage>, TableError> {
        let rules = self.handle.rule().get(family.version()).execute();
        rules.try_collect().await.map_err(family.error("list the rules"))
    }

    /// Those of the table.
    async fn routes(&self, family: Family) -> Result<Vec<RouteMessage>, TableError> {
        let question = match family {
            Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let routes: Vec<RouteMessage> =
            self.handle.route().get(question).execute().try_collect().await.map_err(family.error("list the routes"))?;
        Ok(routes.into_iter().filter(|route| table_of(route) == u32::from(NUMBER)).collect())
    }
}

/// `ip rule add from 127.0.0.1 iif lo ipproto tcp sport PORT lookup 213 priority 213 protocol 213`. Packets of this host's
/// own come in by `lo` to the rules (`fib_rule_match`, `net/core/fib_rules.c`); answers to a SYN and resets have their
/// ports there, too (`inet_csk_route_req`, `ip_send_unicast_reply`).
fn from(service: SocketAddr) -> RuleMessage {
    let mut rule = RuleMessage::default();
    let (of, length) = if service.is_ipv4() { (libc::AF_INET, 32) } else { (libc::AF_INET6, 128) };
    rule.header.family = u8::try_from(of).unwrap_or_default().into();
    rule.header.src_len = length;
    rule.header.table = NUMBER;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Source(service.ip()),
        RuleAttribute::Iifname("lo".to_owned()),
        RuleAttribute::IpProtocol(IpProtocol::Tcp),
        RuleAttribute::SourcePortRange(RulePortRange { start: service.port(), end: service.port() }),
        RuleAttribute::Priority(NUMBER.into()),
        RuleAttribute::Protocol(PROTOCOL),
    ];
    rule
}

/// `ip route add local default dev lo table 213 proto 213`.
fn everything_is_local(family: Family) -> RouteMessage {
    match family {
        Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(LOOPBACK)
            .table_id(NUMBER.into())
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .protocol(PROTOCOL)
            .build(),
        Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new()
            .output_interface(LOOPBACK)
            .table_id(NUMBER.into())
            .kind(RouteType::Local)
            .protocol(PROTOCOL)
            .build(),
    }
}

/// Whether a rule has our priority or leads to our table.
fn concerns(rule: &RuleMessage) -> bool {
    rule.header.table == NUMBER
        || rule.attributes.iter().any(|attribute| match attribute {
            RuleAttribute::Priority(number) | RuleAttribute::Table(number) => *number == u32::from(NUMBER),
            _ => false,
        })
}

fn is_ours(rule: &RuleMessage) -> bool {
    concerns(rule) && rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL))
}

fn table_of(route: &RouteMessage) -> u32 {
    let wide = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    wide.unwrap_or(route.header.table.into())
}

/// Success where the kernel says that it is so already; true: it was not.
fn unless(outcome: Result<(), rtnetlink::Error>, errno: i32) -> Result<bool, rtnetlink::Error> {
    match outcome {
        Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -errno => Ok(false),
        other => other.map(|()| true),
    }
}
