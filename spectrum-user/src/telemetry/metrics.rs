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

/// The status codes of a failed dial, in the order of [`AppShard::dial_errors`].
pub const DIAL_STATUSES: [u16; 5] = [520, 521, 522, 523, 524];

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
    /// Read from clients.
    pub client_bytes: Counter,
    /// Read from origins.
    pub origin_bytes: Counter,
    /// Of both, what went through a pipe and not through a buffer.
    pub spliced_bytes: Counter,
    pub dial_errors: [Counter; DIAL_STATUSES.len()],
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
                shards: self.0.workers.iter().map(|_| AppShard::default()).collect(),
            })
        };
        let mut apps = self.known_apps();
        let known = apps.entry(app.id).or_insert_with(fresh);
        if known.hostname != app.hostname || known.protocol != app.protocol.as_str() {
            *known = fresh();
        }
        Arc::clone(known)
    }

    /// The counters of an application that has some.
    pub fn known(&self, id: AppId) -> Option<Arc<AppMetrics>> {
        self.known_apps().get(&id).cloned()
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
