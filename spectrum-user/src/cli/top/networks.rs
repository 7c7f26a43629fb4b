//! Where most packets come from: by network, autonomous system and country, estimated from samples in fixed memory.

use std::{hash::Hash, net::IpAddr};

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;

use crate::{
    model::{Country, Target},
    shield::{HeavyHitters, network},
};

/// Counters of each kind.
const COUNTERS: usize = 256;
/// How many of each kind are told.
const TOLD: usize = 3;
/// The least share that is told: of what comes from everywhere, nothing is.
const LEAST: f64 = 0.05;
/// The fewest samples that it is told of: one may stand for hundreds of packets, of which the others came from elsewhere.
const SAMPLES: f64 = 3.0;

pub(super) struct Networks {
    prefixes: Ranking<IpNet>,
    asns: Ranking<u32>,
    countries: Ranking<Country>,
}

struct Ranking<K> {
    packets: HeavyHitters<K>,
    samples: HeavyHitters<K>,
}

/// One that much comes from.
#[derive(Debug, Serialize)]
pub(super) struct NetworkRate {
    /// As a rule names it: a prefix, `AS` and a number, a country's two letters.
    pub(super) target: String,
    pub(super) packets_per_second: f64,
    /// Of all packets for applications and pools, 0 to 1.
    pub(super) share: f64,
}

impl Default for Networks {
    fn default() -> Self {
        Self { prefixes: Ranking::new(), asns: Ranking::new(), countries: Ranking::new() }
    }
}

impl Networks {
    /// A sampled packet that stands for so many. Network and country are in it where a daemon has databases.
    pub(super) fn add(&mut self, source: IpAddr, event: &Value, weight: f64) {
        self.prefixes.add(network(source), weight);
        let asn = event.get("ClientAsn").and_then(Value::as_u64).and_then(|asn| u32::try_from(asn).ok());
        if let Some(asn) = asn.filter(|asn| *asn != 0) {
            self.asns.add(asn, weight);
        }
        let country = event.get("ClientCountry").and_then(Value::as_str).filter(|code| *code != "XX");
        if let Some(country) = country.and_then(Country::new) {
            self.countries.add(country, weight);
        }
    }

    /// The heaviest, the widest first.
    pub(super) fn top(&self, seconds: f64) -> Vec<NetworkRate> {
        // Of all packets, also of those that are of no country.
        let least = self.prefixes.packets.total() * LEAST;
        let countries = self.countries.top(least).map(|(country, weight)| (Target::Country(country), weight));
        let asns = self.asns.top(least).map(|(asn, weight)| (Target::Asn(asn), weight));
        let prefixes = self.prefixes.top(least).map(|(prefix, weight)| (Target::Prefix(prefix), weight));
        let rates = countries.chain(asns).chain(prefixes).map(|(target, weight)| NetworkRate {
            target: target.to_string(),
            packets_per_second: weight / seconds,
            share: weight / self.prefixes.packets.total().max(f64::EPSILON),
        });
        rates.collect()
    }

    pub(super) fn fade(&mut self, factor: f64) {
        self.prefixes.fade(factor);
        self.asns.fade(factor);
        self.countries.fade(factor);
    }
}

impl<K: Copy + Eq + Hash + Ord> Ranking<K> {
    fn new() -> Self {
        Self { packets: HeavyHitters::new(COUNTERS), samples: HeavyHitters::new(COUNTERS) }
    }

    fn add(&mut self, key: K, weight: f64) {
        self.packets.add(key, weight);
        self.samples.add(key, 1.0);
    }

    /// Those of at least so many packets.
    fn top(&self, least: f64) -> impl Iterator<Item = (K, f64)> {
        let samples = self.samples.top(COUNTERS);
        let is_known = move |key: K| samples.iter().any(|(known, weight)| *known == key && weight.most >= SAMPLES);
        let heavy = self.packets.top(TOLD).into_iter().map(|(key, weight)| (key, weight.most));
        heavy.filter(move |(key, weight)| *weight >= least && is_known(*key))
    }

    fn fade(&mut self, factor: f64) {
        self.packets.fade(factor);
        self.samples.fade(factor);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_much_comes_from_is_told_and_what_little_comes_from_is_not() {
        let mut networks = Networks::default();
        for host in 0..100_u8 {
            let event = json!({ "ClientAsn": 64501, "ClientCountry": "FR" });
            networks.add(IpAddr::from([192, 0, 2, host]), &event, 10.0);
            networks.add(IpAddr::from([host, 1, 1, 1]), &json!({ "ClientAsn": 0, "ClientCountry": "XX" }), 10.0);
        }
        networks.add(IpAddr::from([198, 51, 100, 7]), &json!({}), 200.0);
        let told: Vec<(String, f64)> =
            networks.top(2.0).into_iter().map(|rate| (rate.target, rate.packets_per_second)).collect();
        let all = ["FR", "AS64501", "192.0.2.0/24"].map(|target| (target.to_owned(), 500.0));
        assert_eq!(told, all);
    }
}
