//! `extensions` of an application: what only this project has.

use std::time::Duration;

use super::{
    diagnostic::Fault,
    reader::{Found, Table},
    text,
};
use crate::model::{SpliceMode, SynCookies, Timeouts};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extensions {
    pub(super) timeouts: Timeouts,
    pub(super) splice: SpliceMode,
    pub(super) syn_cookies: SynCookies,
}

pub(super) fn read(application: &mut Table<'_>) -> Extensions {
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
                .report()
                .error(&place, Fault::later("splice = \"sockmap\"", "write \"auto\", \"splice\" or \"copy\""));
            SpliceMode::default()
        }
        None => SpliceMode::default(),
    }
}

const BUILT: [&str; 4] = ["connect_timeout", "idle_timeout", "splice", "syn_cookies"];

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
