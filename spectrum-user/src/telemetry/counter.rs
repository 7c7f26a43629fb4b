//! A counter that costs its writer one load and one store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts up. Exactly one thread adds, any thread reads: so no locked instruction is needed, and no line of cache
/// travels between cores unless somebody reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Only ever called by the thread that owns the shard this counter is in.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
