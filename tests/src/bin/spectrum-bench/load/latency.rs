//! Times of single operations.

use std::time::Duration;

/// Every time, kept whole: a short window holds less than a million.
#[derive(Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn record(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn merge(all: impl IntoIterator<Item = Self>) -> Self {
        let mut merged: Vec<u32> = all.into_iter().flat_map(|latencies| latencies.0).collect();
        merged.sort_unstable();
        Self(merged)
    }

    /// Microseconds that `per_mille` of 1000 operations did not exceed; only meaningful after [`Self::merge`].
    pub(crate) fn microseconds(&self, per_mille: usize) -> f64 {
        let index = (self.0.len() * per_mille / 1000).min(self.0.len().saturating_sub(1));
        f64::from(self.0.get(index).copied().unwrap_or(0)) / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_all_threads_together() {
        let thread = |range: std::ops::Range<u64>| {
            let mut latencies = Latencies::default();
            range.for_each(|i| latencies.record(Duration::from_micros(i)));
            latencies
        };
        let merged = Latencies::merge([thread(50..100), thread(0..50)]);
        assert_eq!(merged.count(), 100);
        assert!((merged.microseconds(500) - 50.0).abs() < 1e-9);
        assert!((merged.microseconds(990) - 99.0).abs() < 1e-9);
        assert!((merged.microseconds(1000) - 99.0).abs() < 1e-9);
    }

    #[test]
    fn no_operation_has_no_time() {
        assert!(Latencies::default().microseconds(990).abs() < 1e-9);
    }
}
