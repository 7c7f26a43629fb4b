//! `extensions` of an application: what only this project has.

use std::time::Duration;

use super::{
    diagnostic::Fault,
    reader::{Found, Table},
    text,
};
use crate::model::{InvalidRate, PacketRate, Rates, SpliceMode, SynCookies, Timeouts, Transport, UdpFilters};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extensions {
    pub(super) timeouts: Timeouts,
    pub(super) splice: SpliceMode,
    pub(super) syn_cookies: SynCookies,
    pub(super) rates: Rates,
    pub(super) udp_filters: UdpFilters,
}

/// `transport`: of the application, where its protocol can be read.
pub(super) fn read(application: &mut Table<'_>, transport: Option<Transport>) -> Extensions {
    let mut read = Extensions::default();
    let Some(mut table) = application.table("extensions", "extensions") else { return read };
    if let Some(connect) = table.parsed("connect_timeout", |value| text::duration(value, LONGEST_CONNECT)) {
        read.timeouts.connect = connect.value;
    }
    read.timeouts.idle =
        table.parsed("idle_timeout", |value| text::duration(value, LONGEST_IDLE)).map(|idle| idle.value);
    read.splice = read_splice(&mut table);
    let modes = [("auto", SynCookies::Auto), ("always", SynCookies::Always), ("never", SynCookies::Never)];
    read.syn_cookies = table.choice("syn_cookies", &modes).map_or_else(SynCookies::default, |mode| mode.value);
    read.rates = read_rates(&mut table);
    read.udp_filters = UdpFilters {
        reflection: read_udp_filter(&mut table, "udp_reflection", transport),
        signatures: read_udp_filter(&mut table, "udp_signatures", transport),
    };
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

const BUILT: [&str; 8] = [
    "connect_timeout",
    "idle_timeout",
    "splice",
    "syn_cookies",
    "rate_per_source",
    "rate",
    "udp_reflection",
    "udp_signatures",
];

/// Extensions of which the default is what happens already: key, default, the other values, what to do.
const ONLY_DEFAULT: [(&str, &str, &[&str], &str); 2] = [
    ("balance", "round_robin", &["least_connections", "random", "source_hash"], "write \"round_robin\""),
    ("udp_proxy_header", "first", &["every"], "remove it"),
];

/// Extensions of later, and what to do until then.
const LATER: [(&str, &str); 8] = [
    ("udp_idle_timeout", "remove it"),
    ("health_check", "remove it: an origin that refuses is skipped when it is dialled"),
    ("origin_server_name", "remove it: TLS passes through to the origin"),
    ("origin_ca", "remove it: TLS passes through to the origin"),
    ("client_ca", "remove it: TLS passes through to the origin"),
    ("min_tls_version", "remove it: TLS passes through to the origin"),
    ("max_connections", "remove it"),
    ("max_connections_per_ip", "remove it"),
];

const LONGEST_CONNECT: Duration = Duration::from_mins(10);
const LONGEST_IDLE: Duration = Duration::from_hours(7 * 24);
