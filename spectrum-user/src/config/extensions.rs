//! `extensions` of an application: what only this project has.

use std::{ops::Range, time::Duration};

use super::{
    diagnostic::Fault,
    health_check, proxy_protocol,
    reader::{Found, Table},
    sni, text, tls,
};
use crate::model::{
    Balance, ConnectionLimits, HealthCheck, InvalidRate, Keepalive, PacketRate, Rates, ServerNames, SpliceMode,
    SynCookies, Timeouts, Tlvs, Transport, UdpFilters,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Extensions {
    pub(super) balance: Balance,
    pub(super) health_check: Option<HealthCheck>,
    pub(super) limits: ConnectionLimits,
    pub(super) timeouts: Timeouts,
    pub(super) splice: SpliceMode,
    pub(super) syn_cookies: SynCookies,
    pub(super) rates: Rates,
    pub(super) udp_filters: UdpFilters,
    pub(super) proxy_tlvs: Option<Found<Tlvs>>,
    pub(super) tls: tls::Written,
    pub(super) sni: Option<Found<ServerNames>>,
}

/// `transport`: of the application, where its protocol can be read.
pub(super) fn read(application: &mut Table<'_>, transport: Option<Transport>) -> Extensions {
    let mut read = Extensions::default();
    let Some(mut table) = application.table("extensions", "extensions") else { return read };
    let policies = [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("random", Balance::Random),
        ("source_hash", Balance::SourceHash),
    ];
    read.balance = table.choice("balance", &policies).map_or_else(Balance::default, |policy| policy.value);
    read.health_check = health_check::read(&mut table);
    read.limits = read_limits(&mut table);
    read.timeouts = read_timeouts(&mut table);
    read.splice = read_splice(&mut table);
    let modes = [("auto", SynCookies::Auto), ("always", SynCookies::Always), ("never", SynCookies::Never)];
    read.syn_cookies = table.choice("syn_cookies", &modes).map_or_else(SynCookies::default, |mode| mode.value);
    read.rates = read_rates(&mut table);
    read.udp_filters = UdpFilters {
        reflection: read_udp_filter(&mut table, "udp_reflection", transport),
        signatures: read_udp_filter(&mut table, "udp_signatures", transport),
    };
    read.proxy_tlvs = proxy_protocol::tlvs(&mut table);
    read.tls = tls::read(&mut table);
    read.sni = sni::read(&mut table, transport);
    for (key, default, later, advice) in ONLY_DEFAULT {
        table.only(key, default, later, advice);
    }
    for (key, advice) in LATER {
        table.later(key, advice);
    }
    table.finish();
    read
}

/// Whether this is the name of an extension.
pub(super) fn is_one(key: &str) -> bool {
    BUILT.contains(&key)
        || ONLY_DEFAULT.iter().any(|(name, ..)| *name == key)
        || LATER.iter().any(|(name, _)| *name == key)
}

fn read_timeouts(table: &mut Table<'_>) -> Timeouts {
    let Timeouts { connect, handshake, idle, keepalive, user } = Timeouts::default();
    let connect = table.duration("connect_timeout", LONGEST_CONNECT).unwrap_or(connect);
    let handshake = table.duration("handshake_timeout", LONGEST_HANDSHAKE).unwrap_or(handshake);
    let idle = table.duration("idle_timeout", LONGEST_IDLE).or(idle);
    let user = table.duration("user_timeout", LONGEST_SILENCE).unwrap_or(user);
    let idle_probe = table.parsed("keepalive_idle", seconds).map_or(keepalive.idle, |found| found.value);
    let interval = table.parsed("keepalive_interval", seconds).map_or(keepalive.interval, |found| found.value);
    let count = table.whole("keepalive_count", 1..128).unwrap_or(keepalive.count);
    Timeouts { connect, handshake, idle, keepalive: Keepalive { idle: idle_probe, interval, count }, user }
}

/// The kernel counts keepalive in seconds, up to 32,767 (`MAX_TCP_KEEPIDLE`, include/net/tcp.h).
fn seconds(value: &str) -> Result<Duration, Fault> {
    let duration = text::duration(value, LONGEST_KEEPALIVE)?;
    if duration.subsec_nanos() > 0 {
        return Err(Fault::new(format!("`{value}` is not a number of whole seconds")).help("write \"60s\" or \"1m\""));
    }
    Ok(duration)
}

fn read_limits(table: &mut Table<'_>) -> ConnectionLimits {
    let all = table.whole("max_connections", MANY);
    let asked = table.value("max_connections_per_ip");
    let per_client = table.whole("max_connections_per_ip", MANY);
    if let (Some(all), Some(per_client), Some((place, _))) = (all, per_client, asked)
        && per_client > all
    {
        let fault = Fault::new(format!("one client may have {per_client} connections, and all together only {all}"));
        table.findings().error(&place, fault.help(format!("write {all} or less, or a higher `max_connections`")));
    }
    ConnectionLimits { all, per_client }
}

fn read_splice(table: &mut Table<'_>) -> SpliceMode {
    let modes = [
        ("auto", Some(SpliceMode::Auto)),
        ("splice", Some(SpliceMode::Splice)),
        ("copy", Some(SpliceMode::Copy)),
        ("sockmap", None),
    ];
    match table.choice("splice", &modes) {
        Some(Found { value: Some(mode), .. }) => mode,
        Some(Found { value: None, place }) => {
            table
                .findings()
                .error(&place, Fault::later("splice = \"sockmap\"", "write \"auto\", \"splice\" or \"copy\""));
            SpliceMode::default()
        }
        None => SpliceMode::default(),
    }
}

fn read_rates(table: &mut Table<'_>) -> Rates {
    let per_source = table.parsed("rate_per_source", rate);
    let total = table.parsed("rate", rate);
    if let (Some(source), Some(total)) = (&per_source, &total)
        && source.value > total.value
    {
        let (source_rate, total) = (source.value, total.value);
        let fault = Fault::new(format!("one source may have {source_rate}, and all together only {total}"));
        let help = format!("write \"{total}\" or less, or a higher `rate`; without the key one source may have it all");
        table.findings().error(&source.place, fault.help(help));
    }
    Rates { per_source: per_source.map(|found| found.value), total: total.map(|found| found.value) }
}

/// Whether the filter drops.
fn read_udp_filter(table: &mut Table<'_>, key: &'static str, transport: Option<Transport>) -> bool {
    let Some(Found { value: drops, place }) = table.choice(key, &[("drop", true), ("pass", false)]) else {
        return true;
    };
    if transport == Some(Transport::Tcp) {
        table.findings().error(&place, Fault::new(format!("`{key}` is for applications over UDP")).help("remove it"));
    }
    drops
}

fn rate(value: &str) -> Result<PacketRate, Fault> {
    value.parse().map_err(|error| {
        let fault = Fault::new(format!("`{value}` is no rate: {error}"));
        match (error, value.parse::<u32>().ok().and_then(PacketRate::new)) {
            (InvalidRate::Form, Some(rate)) => fault.help(format!("write \"{rate}\"")),
            (InvalidRate::Form, None) => fault.help("write \"100/s\""),
            (InvalidRate::OutOfRange, _) => {
                fault.help("write one in this range, or remove the key: then nothing is refused")
            }
        }
    })
}

const BUILT: [&str; 25] = [
    "balance",
    "health_check",
    "max_connections",
    "max_connections_per_ip",
    "connect_timeout",
    "idle_timeout",
    "user_timeout",
    "keepalive_idle",
    "keepalive_interval",
    "keepalive_count",
    "splice",
    "syn_cookies",
    "rate_per_source",
    "rate",
    "udp_reflection",
    "udp_signatures",
    "proxy_tlvs",
    "handshake_timeout",
    "min_tls_version",
    "client_ca",
    "origin_server_name",
    "origin_ca",
    "origin_certificate",
    "origin_key",
    "sni",
];

/// Extensions of which the default is what happens already: key, default, the other values, what to do.
const ONLY_DEFAULT: [(&str, &str, &[&str], &str); 1] = [("udp_proxy_header", "first", &["every"], "remove it")];

/// Extensions of later, and what to do until then.
const LATER: [(&str, &str); 1] = [("udp_idle_timeout", "remove it")];

const LONGEST_CONNECT: Duration = Duration::from_mins(10);
const LONGEST_HANDSHAKE: Duration = Duration::from_mins(5);
/// A million places are more than one node has.
const MANY: Range<u32> = 1..1_000_001;
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32_767);
const LONGEST_SILENCE: Duration = Duration::from_hours(24);
const LONGEST_IDLE: Duration = Duration::from_hours(7 * 24);
