//! Latency buckets.

use std::time::Duration;

use super::Counter;

/// Upper bounds in seconds. A dial over loopback takes 50 µs, across an ocean 200 ms.
pub(super) const BOUNDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0];

/// One thread's share of a histogram.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one is for what is above every bound.
    pub(super) buckets: [Counter; BOUNDS.len() + 1],
    pub(super) nanoseconds: Counter,
}

impl Histogram {
    pub fn record(&self, latency: Duration) {
        let seconds = latency.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(counter) = self.buckets.get(bucket) {
            counter.add(1);
        }
        self.nanoseconds.add(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_in_the_smallest_bucket_that_holds_it() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(100));
        histogram.record(Duration::from_micros(101));
        histogram.record(Duration::from_mins(1));
        let counts: Vec<u64> = histogram.buckets.iter().map(Counter::value).collect();
        assert_eq!(counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
