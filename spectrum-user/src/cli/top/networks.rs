//! Where most packets come from: by network, autonomous system and country, estimated from samples in fixed memory.

use std::net::IpAddr;

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

pub(super) struct Networks {
    prefixes: HeavyHitters<IpNet>,
    asns: HeavyHitters<u32>,
    countries: HeavyHitters<Country>,
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
        Self {
            prefixes: HeavyHitters::new(COUNTERS),
            asns: HeavyHitters::new(COUNTERS),
            countries: HeavyHitters::new(COUNTERS),
        }
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
        let total = self.prefixes.total().max(f64::EPSILON);
        let countries =
            self.countries.top(TOLD).into_iter().map(|(country, weight)| (Target::Country(country), weight));
        let asns = self.asns.top(TOLD).into_iter().map(|(asn, weight)| (Target::Asn(asn), weight));
        let prefixes = self.prefixes.top(TOLD).into_iter().map(|(prefix, weight)| (Target::Prefix(prefix), weight));
        let rates = countries.chain(asns).chain(prefixes).map(|(target, weight)| NetworkRate {
            target: target.to_string(),
            packets_per_second: weight.most / seconds,
            share: weight.most / total,
        });
        rates.filter(|rate| rate.share >= LEAST).collect()
    }

    pub(super) fn fade(&mut self, factor: f64) {
        self.prefixes.fade(factor);
        self.asns.fade(factor);
        self.countries.fade(factor);
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
        let told: Vec<(String, f64)> =
            networks.top(2.0).into_iter().map(|rate| (rate.target, rate.packets_per_second)).collect();
        let all = ["FR", "AS64501", "192.0.2.0/24"].map(|target| (target.to_owned(), 500.0));
        assert_eq!(told, all);
    }
}
