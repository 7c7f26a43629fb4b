//! Who sends most, estimated from samples in fixed memory.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use super::{
    looks::Seen,
    networks::{NetworkRate, Networks},
};
use crate::shield::{HeavyHitters, Likeness};

/// Counters: whoever sends more than one part in so many has one.
const COUNTERS: usize = 512;
/// How many are told.
const TOLD: usize = 10;
/// What is left of the past with each look: about the last five are remembered.
const FADE: f64 = 0.8;
/// The same in whole numbers.
const KEEP: (u64, u64) = (4, 5);

/// Samples, as they come.
pub(super) struct Sources {
    packets: HeavyHitters<IpAddr>,
    bytes: HeavyHitters<IpAddr>,
    networks: Networks,
    looks: Seen,
    /// Seconds that the weights are of, faded like them.
    seconds: f64,
    samples: u64,
    missed: u64,
}

impl Default for Sources {
    fn default() -> Self {
        let counters = || HeavyHitters::new(COUNTERS);
        Self {
            packets: counters(),
            bytes: counters(),
            networks: Networks::default(),
            looks: Seen::default(),
            seconds: 0.0,
            samples: 0,
            missed: 0,
        }
    }
}

/// The heaviest sources.
#[derive(Debug, Serialize)]
pub(super) struct Estimate {
    /// Always: it is no count.
    pub(super) estimated: bool,
    /// Samples since the look before.
    pub(super) samples: u64,
    /// Samples since then that could not be read in time.
    pub(super) missed: u64,
    pub(super) top: Vec<SourceRate>,
    /// Where much comes from: countries, autonomous systems, networks.
    pub(super) networks: Vec<NetworkRate>,
}

#[derive(Debug, Serialize)]
pub(super) struct SourceRate {
    pub(super) address: IpAddr,
    pub(super) packets_per_second: f64,
    pub(super) bits_per_second: f64,
    /// Of all packets for applications and pools, 0 to 1.
    pub(super) share: f64,
}

impl Sources {
    /// Takes a line of the event stream.
    pub(super) fn add(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { return };
        let number = |key: &str| {
            let value = event.get("extensions").and_then(|more| more.get(key)).and_then(Value::as_u64);
            u32::try_from(value.unwrap_or_default()).unwrap_or(u32::MAX)
        };
        if event.get("Event").and_then(Value::as_str) == Some("missed") {
            self.missed += u64::from(number("samples"));
            return;
        }
        let source = event.get("ClientIP").and_then(Value::as_str).and_then(|text| text.parse().ok());
        // A sample of the drops alone has no weight, and would count twice.
        if let (Some(source), weight @ 1..) = (source, number("weight")) {
            self.samples += 1;
            self.packets.add(source, f64::from(weight));
            self.bytes.add(source, f64::from(weight) * f64::from(number("length")));
            self.networks.add(source, &event, f64::from(weight));
            self.looks.add(&event, weight);
        }
    }

    /// What the packets for an application look like.
    pub(super) fn portrait(&self, app: &str) -> Vec<Likeness> {
        self.looks.of(app)
    }

    /// What is known after some more seconds.
    pub(super) fn estimate(&mut self, seconds: f64) -> Estimate {
        self.seconds += seconds;
        let per_second = 1.0 / self.seconds;
        let bytes = self.bytes.top(COUNTERS);
        let rate = |(address, weight): (IpAddr, crate::shield::Weight)| {
            let bytes = bytes.iter().find(|(known, _)| *known == address).map_or(0.0, |(_, weight)| weight.most);
            SourceRate {
                address,
                packets_per_second: weight.most * per_second,
                bits_per_second: bytes * 8.0 * per_second,
                share: weight.most / self.packets.total().max(f64::EPSILON),
            }
        };
        let top = self.packets.top(TOLD).into_iter().map(rate).collect();
        let networks = self.networks.top(self.seconds);
        self.packets.fade(FADE);
        self.bytes.fade(FADE);
        self.networks.fade(FADE);
        let (keep, of) = KEEP;
        self.looks.fade(keep, of);
        self.seconds *= FADE;
        let (samples, missed) = (std::mem::take(&mut self.samples), std::mem::take(&mut self.missed));
        Estimate { estimated: true, samples, missed, top, networks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: &str, weight: u32, drops: u32) -> String {
        let extensions = serde_json::json!({ "weight": weight, "drops": drops, "length": 100 });
        serde_json::json!({ "Event": "drop", "ClientIP": source, "extensions": extensions }).to_string()
    }

    #[test]
    fn weights_are_what_counts_and_samples_of_drops_alone_do_not() {
        let mut sources = Sources::default();
        for line in [sample("192.0.2.1", 300, 0), sample("192.0.2.2", 100, 7), sample("192.0.2.3", 0, 90_000)] {
            sources.add(&line);
        }
        sources.add(r#"{"Event":"missed","extensions":{"events":1,"samples":12}}"#);
        sources.add("no JSON");
        let estimate = sources.estimate(2.0);
        assert_eq!((estimate.samples, estimate.missed), (2, 12));
        let top: Vec<(String, f64)> =
            estimate.top.iter().map(|rate| (rate.address.to_string(), rate.packets_per_second)).collect();
        assert_eq!(top, [("192.0.2.1".into(), 150.0), ("192.0.2.2".into(), 50.0)]);
        assert!(
            (estimate.top[0].share - 0.75).abs() < 1e-9 && (estimate.top[0].bits_per_second - 120_000.0).abs() < 1e-6
        );
    }

    #[test]
    fn a_rate_that_stays_is_told_as_it_is_however_long_it_lasts() {
        let mut sources = Sources::default();
        for _ in 0..20 {
            sources.add(&sample("192.0.2.1", 500, 0));
            assert!((sources.estimate(1.0).top[0].packets_per_second - 500.0).abs() < 1e-6);
        }
    }
}
