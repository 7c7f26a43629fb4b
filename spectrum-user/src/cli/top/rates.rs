//! What happened between two looks, per second.

use std::collections::BTreeMap;

use serde::Serialize;
use spectrum_common::{Reason, reason::Action};

use super::{
    look::Look,
    sources::{Estimate, Sources},
};
use crate::{
    daemon::{AppStatus, Protection},
    dataplane::status::ReasonCount,
    shield::Likeness,
};

#[derive(Debug, Serialize)]
pub(super) struct Rates {
    /// How long it was looked.
    pub(super) seconds: f64,
    /// Whether a daemon serves.
    pub(super) daemon: bool,
    pub(super) protection: Option<Protection>,
    pub(super) applications: Vec<AppRates>,
    /// Of all traffic of the attached interfaces.
    pub(super) reasons: Vec<ReasonRate>,
    pub(super) sources: Estimate,
}

#[derive(Debug, Serialize)]
pub(super) struct AppRates {
    pub(super) id: String,
    pub(super) hostname: String,
    pub(super) protocol: String,
    pub(super) packets_per_second: f64,
    pub(super) bits_per_second: f64,
    pub(super) connections_active: u64,
    pub(super) connections_per_second: f64,
    /// Packets per second, by reason.
    pub(super) drops: BTreeMap<String, f64>,
    /// What its packets look like, estimated from samples.
    pub(super) portrait: Vec<Likeness>,
}

#[derive(Debug, Serialize)]
pub(super) struct ReasonRate {
    pub(super) reason: String,
    pub(super) action: &'static str,
    pub(super) packets_per_second: f64,
    pub(super) bits_per_second: f64,
}

impl Rates {
    pub(super) fn between(before: &Look, now: &Look, sources: &mut Sources) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(f64::EPSILON);
        let mut applications: Vec<AppRates> = now
            .apps
            .iter()
            .map(|app| AppRates {
                portrait: sources.portrait(&app.id),
                ..app_rates(before.apps.iter().find(|earlier| earlier.id == app.id), app, seconds)
            })
            .collect();
        applications.sort_by(|a, b| b.packets_per_second.total_cmp(&a.packets_per_second));
        let mut reasons = reason_rates(&before.totals, &now.totals, seconds);
        reasons.retain(|rate| rate.packets_per_second > 0.0);
        reasons.sort_by(|a, b| b.packets_per_second.total_cmp(&a.packets_per_second));
        Self {
            seconds,
            daemon: now.daemon,
            protection: now.protection.clone(),
            applications,
            reasons,
            sources: sources.estimate(seconds),
        }
    }
}

fn app_rates(before: Option<&AppStatus>, now: &AppStatus, seconds: f64) -> AppRates {
    // An application that was not there before counts from nothing.
    let (packets, opened) = before.map_or((&[][..], 0), |before| (&before.packets[..], before.connections_opened));
    let rates = reason_rates(packets, &now.packets, seconds);
    AppRates {
        id: now.id.clone(),
        hostname: now.hostname.clone(),
        protocol: now.protocol.clone(),
        packets_per_second: total(rates.iter().map(|rate| rate.packets_per_second)),
        bits_per_second: total(rates.iter().map(|rate| rate.bits_per_second)),
        connections_active: now.connections_active,
        connections_per_second: per_second(opened, now.connections_opened, seconds),
        drops: rates
            .into_iter()
            .filter(|rate| rate.action == "drop" && rate.packets_per_second > 0.0)
            .map(|rate| (rate.reason, rate.packets_per_second))
            .collect(),
        portrait: Vec::new(),
    }
}

/// The sum of nothing is `-0.0` (`Iterator::sum`), which nobody wants to read.
fn total(rates: impl Iterator<Item = f64>) -> f64 {
    rates.fold(0.0, |total, rate| total + rate)
}

fn reason_rates(before: &[ReasonCount], now: &[ReasonCount], seconds: f64) -> Vec<ReasonRate> {
    let rate = |now: &ReasonCount| {
        let before = before.iter().find(|earlier| earlier.reason == now.reason);
        let (packets, bytes) = before.map_or((0, 0), |before| (before.packets, before.bytes));
        let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == now.reason);
        ReasonRate {
            reason: now.reason.clone(),
            action: reason.map_or(Action::Pass, Reason::action).as_str(),
            packets_per_second: per_second(packets, now.packets, seconds),
            bits_per_second: per_second(bytes, now.bytes, seconds) * 8.0,
        }
    };
    now.iter().map(rate).collect()
}

/// A counter that went back was taken away and made anew.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(before: u64, now: u64, seconds: f64) -> f64 {
    now.checked_sub(before).unwrap_or(now) as f64 / seconds
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn look(at: Instant, blocked: u64, opened: u64) -> Look {
        let count = |reason: &str, packets| ReasonCount { reason: reason.into(), packets, bytes: packets * 100 };
        let packets = vec![count("steered", 50), count("blocked", blocked)];
        let app =
            AppStatus { id: "a1".into(), packets: packets.clone(), connections_opened: opened, ..AppStatus::default() };
        Look { at, daemon: true, protection: None, totals: packets, apps: vec![app] }
    }

    #[test]
    fn what_was_counted_in_between_is_told_per_second() {
        let at = Instant::now();
        let (before, now) = (look(at, 100, 3), look(at + Duration::from_secs(2), 300, 5));
        let rates = Rates::between(&before, &now, &mut Sources::default());
        let app = &rates.applications[0];
        assert!((app.packets_per_second - 100.0).abs() < 1e-9 && (app.bits_per_second - 80_000.0).abs() < 1e-9);
        assert!((app.connections_per_second - 1.0).abs() < 1e-9);
        assert_eq!(app.drops.keys().collect::<Vec<_>>(), ["blocked"]);
        let reasons: Vec<(&str, &str)> = rates.reasons.iter().map(|rate| (rate.reason.as_str(), rate.action)).collect();
        assert_eq!(reasons, [("blocked", "drop")], "what did not happen is not told");
    }

    #[test]
    fn who_gets_nothing_has_a_rate_of_zero() {
        let mut nothing = look(Instant::now(), 0, 0);
        nothing.apps[0].packets.clear();
        let rates = Rates::between(&nothing, &nothing, &mut Sources::default());
        let app = &rates.applications[0];
        assert!(app.packets_per_second.is_sign_positive() && app.bits_per_second.is_sign_positive());
    }

    #[test]
    fn counters_that_began_anew_make_no_rate_of_billions() {
        let at = Instant::now();
        let (before, now) = (look(at, 1_000_000, 9), look(at + Duration::from_secs(1), 10, 1));
        let rates = Rates::between(&before, &now, &mut Sources::default());
        assert!(rates.applications[0].packets_per_second < 100.0);
    }
}
