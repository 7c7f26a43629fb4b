//! Rules that the daemon makes by itself: what feeds the judgement, what it may not touch, and what becomes of it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use spectrum_common::Reason;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Running, View, spared::Spared};
use crate::{
    dataplane::{events::Sample, rules::RuleChange},
    geo::Databases,
    model::{AccessRule, DesiredState, RuleId, RuleMode, Scope, Target},
    rules::{self, Book, Facts, RuleSource},
    shield::{Bounds, Mitigation, Seen, Verdict},
};

const LOOK: Duration = Duration::from_secs(1);
/// Between two looks: beyond, floods are seen late, and whoever asks the daemon waits.
const LATE: Duration = Duration::from_secs(3);

/// What was seen, and what follows from it.
pub(super) struct Auto {
    mitigation: Mitigation,
    seen: Seen,
    looks: Interval,
    last: Instant,
}

impl Default for Auto {
    fn default() -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { mitigation: Mitigation::default(), seen: Seen::default(), looks, last: Instant::now() }
    }
}

impl Auto {
    pub(super) async fn due(&mut self) {
        self.looks.tick().await;
    }

    /// Counts a sampled packet for an application.
    pub(super) fn see(&mut self, sample: &Sample, view: &View, geo: &Databases) {
        if sample.app.is_none() {
            return;
        }
        match (sample.reason, sample.rule) {
            (Reason::Blocked, Some(number)) => {
                let target = view.rule_target(number).filter(|target| self.mitigation.is_active(*target));
                if let Some(target) = target {
                    *self.seen.matched.entry(target).or_default() += u64::from(sample.drops);
                }
            }
            (Reason::Allowed, _) => {}
            _ if sample.weight > 0 => {
                self.seen.packets.add(sample.source, geo.table.class(sample.source), sample.weight.into());
                self.seen.grain = self.seen.grain.max(sample.weight.into());
            }
            _ => {}
        }
    }

    pub(super) fn ended(&mut self, rule: &AccessRule) {
        self.mitigation.ended(rule.target);
    }

    pub(super) fn taken_away(&mut self, rule: &AccessRule) {
        self.mitigation.taken_away(rule.target, Instant::now());
    }

    /// After a reload: what is not there any more has ended.
    pub(super) fn keep(&mut self, desired: &DesiredState, book: &Book) {
        let is_auto = |rule: &&AccessRule| book.facts(rule.id).is_some_and(|facts| facts.source == RuleSource::Auto);
        let there: BTreeSet<Target> = desired.rules.iter().filter(is_auto).map(|rule| rule.target).collect();
        let gone: Vec<Target> = self.mitigation.active().filter(|target| !there.contains(target)).collect();
        for target in gone {
            self.mitigation.ended(target);
        }
    }
}

impl Running {
    /// Looks once, and does what follows.
    pub(super) async fn mitigate(&mut self) {
        let now = Instant::now();
        let elapsed = now.duration_since(std::mem::replace(&mut self.auto.last, now));
        if elapsed > LATE {
            log::warn!(
                "the daemon had no time for {:.1} s: something slow, too little CPU, or a host that stood still",
                elapsed.as_secs_f64()
            );
        }
        let mut seen = std::mem::take(&mut self.auto.seen);
        seen.connections = self.telemetry.arrivals.take();
        let settings = self.node.shield.auto;
        let bounds = Bounds {
            mode: settings.rules,
            connections: f64::from(settings.connections),
            packets: f64::from(settings.packets),
            most: settings.most,
        };
        let arrivals = self.telemetry.arrivals.clone();
        let (desired, table) = (self.view.desired(), self.table.borrow().clone());
        let spared = Spared::new(&self.book, desired, table, Arc::clone(&self.geo), arrivals);
        let verdicts = self.auto.mitigation.look(now, elapsed, &seen, bounds, &spared);
        drop(spared);
        for verdict in verdicts {
            match verdict {
                Verdict::Install { target, simulate, why } => {
                    Box::pin(self.install(target, simulate, why, settings.duration)).await;
                }
                Verdict::Withdraw { target } => Box::pin(self.withdraw(target)).await,
            }
        }
    }

    async fn install(&mut self, target: Target, simulate: bool, why: String, duration: Duration) {
        let now = SystemTime::now();
        let rule = AccessRule {
            id: RuleId::derive(&["auto", &target.to_string()]),
            scope: Scope::User,
            mode: RuleMode::Block,
            target,
            notes: why,
            simulate,
            expires_on: now.checked_add(duration),
        };
        let before = self.auto_rules(|other| other.id == rule.id);
        match self.change(RuleChange { removed: &before, added: std::slice::from_ref(&rule) }).await {
            Ok(()) => {
                let tried = if simulate { ", only tried" } else { "" };
                log::warn!("block {target}{tried}: {} (rule {})", rule.notes, rule.id);
                self.learn(&rule, Facts::new(RuleSource::Auto, &rule, now));
            }
            Err(error) => {
                log::error!("no automatic rule for {target} for now: {:#}", anyhow::Error::new(error));
                self.auto.mitigation.failed(target, Instant::now());
            }
        }
    }

    async fn withdraw(&mut self, target: Target) {
        let rules = self.auto_rules(|rule| rule.target == target);
        self.end_auto(&rules, "it is calm").await;
    }

    /// The last act: nothing that the daemon decided outlives it.
    pub(super) async fn end_auto_rules(&mut self) {
        let rules = self.auto_rules(|_| true);
        self.end_auto(&rules, "the daemon ends").await;
    }

    /// The daemon's own rules, for a successor.
    pub(super) fn auto_rules_written(&self) -> Value {
        let rules = self.auto_rules(|_| true);
        let made = rules.iter().filter_map(|rule| Some((rule, self.book.facts(rule.id)?)));
        rules::pack(made.map(|(rule, facts)| (rule, facts.created, facts.modified)), &self.view.desired().zones)
    }

    fn auto_rules(&self, meant: impl Fn(&AccessRule) -> bool) -> Vec<AccessRule> {
        let desired = self.view.desired();
        let rules = desired.rules.iter().filter(|rule| meant(rule) && self.source(rule) == RuleSource::Auto);
        rules.cloned().collect()
    }

    async fn end_auto(&mut self, rules: &[AccessRule], why: &str) {
        if rules.is_empty() {
            return;
        }
        match self.change(RuleChange { removed: rules, added: &[] }).await {
            Ok(()) => {
                for rule in rules {
                    log::warn!("block {} is over: {why} (rule {})", rule.target, rule.id);
                    self.forget(rule, why);
                }
            }
            // It ends by its own time.
            Err(error) => log::error!("an automatic rule stays: {:#}", anyhow::Error::new(error)),
        }
    }
}
