//! Who connects, and who is served: what is known of clients whose address is proven by a handshake.
//!
//! Workers write, each into a part of its own; whoever judges reads now and then. Memory is bounded by the counts that
//! are kept and by the connections that are open.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use ipnet::IpNet;
use spectrum_common::geo::Class;

use crate::shield::Counts;

/// What all workers know. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Arrivals(Arc<[Mutex<Part>]>);

#[derive(Debug, Default)]
struct Part {
    accepted: Counts,
    served: HashSet<IpAddr>,
}

impl Arrivals {
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Mutex::default()).collect())
    }

    /// A client of an application that asks access rules has connected, and no rule speaks of it.
    pub(super) fn accepted(&self, worker: usize, client: IpAddr, class: Class) {
        self.with(worker, |part| part.accepted.add(client, class, 1));
    }

    /// The clients of a worker whose connections last, and move bytes.
    pub(super) fn serves(&self, worker: usize, clients: HashSet<IpAddr>) {
        self.with(worker, |part| part.served = clients);
    }

    /// The connections that were accepted since this was last asked.
    pub fn take(&self) -> Counts {
        let mut all = Counts::default();
        for part in self.0.iter() {
            all.merge(&part.lock().unwrap_or_else(PoisonError::into_inner).accepted.take());
        }
        all
    }

    /// Whether a client within this prefix has a connection that lasts and moves bytes.
    pub fn serve_any_of(&self, prefix: IpNet) -> bool {
        let serves = |part: &Part| part.served.iter().any(|client| prefix.contains(client));
        self.0.iter().any(|part| serves(&part.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Each client that has a connection which lasts and moves bytes.
    pub fn served(&self) -> HashSet<IpAddr> {
        let of = |part: &Mutex<Part>| part.lock().unwrap_or_else(PoisonError::into_inner).served.clone();
        self.0.iter().flat_map(of).collect()
    }

    fn with(&self, worker: usize, change: impl FnOnce(&mut Part)) {
        if let Some(part) = self.0.get(worker) {
            change(&mut part.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
