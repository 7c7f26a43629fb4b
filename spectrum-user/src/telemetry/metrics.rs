//! The metrics of the proxy: per application and per worker, so that no two threads write to one place.
//!
//! Labels are bounded by what is configured: nothing that the network sends becomes a label.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::registry::Registry;

use super::{Counter, encode::ProxyCollector, histogram::Histogram};
use crate::model::{AppId, Application};

/// How a dial fails, by the product's status and this project's reason, in the order of [`AppShard::dial_errors`].
pub const DIAL_ERRORS: [(u16, &str); 21] = [
    (520, "origin_error"),
    (521, "origin_refused"),
    (522, "origin_timeout"),
    (523, "origin_unreachable"),
    (524, "dial_failed_here"),
    (524, "no_source_port"),
    (530, "origin_not_resolved"),
    (531, "origin_has_no_record"),
    (532, "origin_address_refused"),
    (521, "origin_certificate_self_signed"),
    (521, "origin_certificate_expired"),
    (521, "origin_certificate_not_valid_yet"),
    (521, "origin_certificate_wrong_name"),
    (521, "origin_certificate_unknown_ca"),
    (521, "origin_certificate_revoked"),
    (521, "origin_certificate_invalid"),
    (521, "origin_speaks_no_tls"),
    (521, "origin_refused_handshake"),
    (521, "origin_handshake_failed"),
    (522, "origin_handshake_timeout"),
    (540, "origin_tls_not_configured"),
];

/// Handshakes with clients that came to their end, by version and whether a session went on, in the order of
/// [`AppShard::handshakes`].
pub const HANDSHAKES: [(&str, bool); 6] = [
    ("TLSv1.3", false),
    ("TLSv1.3", true),
    ("TLSv1.2", false),
    ("TLSv1.2", true),
    ("TLSv1.1", false),
    ("TLSv1", false),
];

/// How TLS with a client fails, by the product's status and this project's reason, in the order of [`AppShard::tls_errors`].
pub const TLS_ERRORS: [(u16, &str); 16] = [
    (400, "client_asks_for_another_name"),
    (443, "client_asks_for_no_challenge"),
    (443, "client_handshake_timeout"),
    (443, "client_handshake_too_long"),
    (443, "client_certificate_missing"),
    (443, "client_certificate_refused"),
    (443, "client_speaks_no_tls"),
    (443, "client_handshake_nothing_in_common"),
    (443, "client_handshake_failed"),
    (443, "client_handshake_broken"),
    (443, "max_handshakes"),
    (443, "max_handshakes_per_ip"),
    (443, "handshake_shed"),
    (490, "client_tls_error"),
    (540, "no_certificate"),
    (540, "no_client_ca"),
];

/// Everything that is counted in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    /// Applications of the table, and gone ones that still have connections.
    apps: Mutex<BTreeMap<AppId, Arc<AppMetrics>>>,
    pub(super) workers: Box<[NodeShard]>,
}

/// What is counted for one application.
#[derive(Debug)]
pub struct AppMetrics {
    /// As labels and events write them.
    pub id: String,
    pub hostname: String,
    pub protocol: String,
    /// Whether TLS ends at the edge.
    pub terminates: bool,
    pub(super) shards: Box<[AppShard]>,
}

/// One worker's share of an application. Alone on its lines of cache.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct AppShard {
    pub opened: Counter,
    pub closed: Counter,
    /// Closed by access rules, at accept or by a later rule.
    pub denied: Counter,
    /// Turned away because the application, or the client, had as many connections as it may.
    pub limited: Counter,
    /// Directories that have seen the answer to their challenge.
    pub challenges: Counter,
    /// Turned away where challenges alone are answered.
    pub no_challenges: Counter,
    /// Read from clients.
    pub client_bytes: Counter,
    /// Read from origins.
    pub origin_bytes: Counter,
    /// Of both, what went through a pipe and not through a buffer.
    pub spliced_bytes: Counter,
    pub dial_errors: [Counter; DIAL_ERRORS.len()],
    pub handshakes: [Counter; HANDSHAKES.len()],
    pub tls_errors: [Counter; TLS_ERRORS.len()],
    pub dial_latency: Histogram,
}

/// One worker's share of what belongs to no application.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct NodeShard {
    /// Turned away because as many connections are open as descriptors allow.
    pub shed_full: Counter,
    /// Turned away because there was no descriptor or no memory.
    pub shed_exhausted: Counter,
    /// Arrived at an address and port of no application.
    pub unclassified: Counter,
    /// Tasks that panicked: bugs.
    pub panics: Counter,
}

impl Metrics {
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| NodeShard::default()).collect();
        Self(Arc::new(Inner { apps: Mutex::default(), workers }))
    }

    /// The counters of an application: the same ones for as long as anything of it is there.
    pub fn app(&self, app: &Application) -> Arc<AppMetrics> {
        let fresh = || {
            Arc::new(AppMetrics {
                id: app.id.to_string(),
                hostname: app.hostname.clone(),
                protocol: app.protocol.to_string(),
                terminates: app.tls.mode.terminates(),
                shards: self.0.workers.iter().map(|_| AppShard::default()).collect(),
            })
        };
        let mut apps = self.known_apps();
        let known = apps.entry(app.id).or_insert_with(fresh);
        let same = (&*known.hostname, &*known.protocol, known.terminates)
            == (&*app.hostname, app.protocol.as_str(), app.tls.mode.terminates());
        if !same {
            *known = fresh();
        }
        Arc::clone(known)
    }

    /// The counters of an application that has some.
    pub fn known(&self, id: AppId) -> Option<Arc<AppMetrics>> {
        self.known_apps().get(&id).cloned()
    }

    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.apps().iter().map(|app| app.active()).sum()
    }

    /// Forgets applications that are in no table any more and have no connection left.
    pub fn prune(&self) {
        self.known_apps().retain(|_, app| Arc::strong_count(app) > 1);
    }

    /// The share of one worker.
    pub fn worker(&self, index: usize) -> Option<&NodeShard> {
        self.0.workers.get(index)
    }

    /// Adds the proxy's metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(ProxyCollector(self.clone())));
    }

    fn known_apps(&self) -> MutexGuard<'_, BTreeMap<AppId, Arc<AppMetrics>>> {
        self.0.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn apps(&self) -> Vec<Arc<AppMetrics>> {
        self.known_apps().values().cloned().collect()
    }

    /// Sum over all workers.
    pub(super) fn node(&self, counter: fn(&NodeShard) -> &Counter) -> u64 {
        self.0.workers.iter().map(|shard| counter(shard).value()).sum()
    }
}

impl AppMetrics {
    /// The share of one worker.
    pub fn worker(&self, index: usize) -> Option<&AppShard> {
        self.shards.get(index)
    }

    /// Sum over all workers.
    pub fn sum(&self, counter: fn(&AppShard) -> &Counter) -> u64 {
        self.shards.iter().map(|shard| counter(shard).value()).sum()
    }

    /// Connections that are open now.
    pub fn active(&self) -> u64 {
        // Closed first: what opens in between is then counted as open, and never as less than nothing.
        let closed = self.sum(|shard| &shard.closed);
        self.sum(|shard| &shard.opened).saturating_sub(closed)
    }
}
