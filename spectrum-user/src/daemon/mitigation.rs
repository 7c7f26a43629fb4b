//! Rules that the daemon makes by itself: what feeds the judgement, what it may not touch, and what becomes of it.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use spectrum_common::Reason;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Running, View};
use crate::{
    dataplane::{events::Sample, rules::RuleChange},
    model::{AccessRule, DesiredState, RuleId, RuleMode, Scope, Target},
    proxy::Arrivals,
    rules::{Book, Facts, Now, RuleSource},
    shield::{Bounds, Mitigation, Seen, Verdict, host, network},
    state,
};

const LOOK: Duration = Duration::from_secs(1);

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
    pub(super) fn see(&mut self, sample: &Sample, view: &View) {
        if sample.app.is_none() {
            return;
        }
        match (sample.reason, sample.rule) {
            (Reason::Blocked, Some(number)) => {
                let target = view.rule_target(number).and_then(Target::prefix);
                if let Some(target) = target.filter(|target| self.mitigation.active().any(|active| active == *target)) {
                    *self.seen.matched.entry(target).or_default() += u64::from(sample.drops);
                }
            }
            (Reason::Allowed, _) => {}
            _ if sample.weight > 0 => {
                self.seen.packets.add(host(sample.source), sample.weight.into());
                self.seen.networks.add(network(sample.source), sample.weight.into());
            }
            _ => {}
        }
    }

    pub(super) fn ended(&mut self, rule: &AccessRule) {
        if let Some(target) = rule.target.prefix() {
            self.mitigation.ended(target);
        }
    }

    pub(super) fn taken_away(&mut self, rule: &AccessRule) {
        if let Some(target) = rule.target.prefix() {
            self.mitigation.taken_away(target, Instant::now());
        }
    }

    /// After a reload: what is not there any more has ended.
    pub(super) fn keep(&mut self, desired: &DesiredState, book: &Book) {
        let is_auto = |rule: &&AccessRule| book.facts(rule.id).is_some_and(|facts| facts.source == RuleSource::Auto);
        let there: BTreeSet<IpNet> =
            desired.rules.iter().filter(is_auto).filter_map(|rule| rule.target.prefix()).collect();
        let gone: Vec<IpNet> = self.mitigation.active().filter(|target| !there.contains(target)).collect();
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
        let mut seen = std::mem::take(&mut self.auto.seen);
        seen.connections = self.telemetry.arrivals.take();
        let settings = self.node.shield.auto;
        let bounds = Bounds {
            mode: settings.rules,
            connections: f64::from(settings.connections),
            packets: f64::from(settings.packets),
            most: settings.most,
        };
        let spared = Spared::new(self.view.desired(), self.telemetry.arrivals.clone());
        let verdicts = self.auto.mitigation.look(now, elapsed, &seen, bounds, |target| spared.why(target));
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

    async fn install(&mut self, target: IpNet, simulate: bool, why: String, duration: Duration) {
        let now = Now::read();
        let rule = AccessRule {
            id: RuleId::derive(&["auto", &target.to_string()]),
            scope: Scope::User,
            mode: RuleMode::Block,
            target: Target::Prefix(target),
            notes: why,
            simulate,
            expires_on: now.wall.checked_add(duration),
        };
        let before = self.auto_rules(|other| other.id == rule.id);
        match self.change(RuleChange { removed: &before, added: std::slice::from_ref(&rule) }).await {
            Ok(()) => {
                let tried = if simulate { ", only tried" } else { "" };
                log::warn!("block {target}{tried}: {} (rule {})", rule.notes, rule.id);
                self.learn(&rule, Facts::new(RuleSource::Auto, &rule, now));
            }
            Err(error) => {
                log::error!("no automatic rule for {target}: {:#}", anyhow::Error::new(error));
                self.auto.mitigation.ended(target);
            }
        }
    }

    async fn withdraw(&mut self, target: IpNet) {
        let rules = self.auto_rules(|rule| rule.target == Target::Prefix(target));
        self.end_auto(&rules, "it is calm").await;
    }

    /// The last act: nothing that the daemon decided outlives it.
    pub(super) async fn end_auto_rules(&mut self) {
        let rules = self.auto_rules(|_| true);
        self.end_auto(&rules, "the daemon ends").await;
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

/// Whom no automatic rule may name.
struct Spared {
    desired: std::sync::Arc<DesiredState>,
    arrivals: Arrivals,
    /// Read when they are needed, which is rare.
    asked: std::cell::OnceCell<Vec<IpAddr>>,
}

impl Spared {
    fn new(desired: std::sync::Arc<DesiredState>, arrivals: Arrivals) -> Self {
        Self { desired, arrivals, asked: std::cell::OnceCell::new() }
    }

    fn why(&self, target: IpNet) -> Option<&'static str> {
        let acts = |rule: &AccessRule| rule.scope == Scope::User && rule.mode == RuleMode::Block && !rule.simulate;
        let meets = |other: IpNet| target.contains(&other) || other.contains(&target);
        for rule in &self.desired.rules {
            match rule.target.prefix() {
                Some(prefix) if rule.mode == RuleMode::Allow && meets(prefix) => return Some("an allow rule names it"),
                // The daemon's own may give way to each other.
                Some(prefix) if acts(rule) && prefix.contains(&target) => return Some("a rule names it"),
                _ => {}
            }
        }
        if self.arrivals.serve_any_of(target) {
            return Some("a client in it is being served");
        }
        let origins = self.desired.applications.iter().flat_map(|app| app.origins.iter().map(|origin| origin.address));
        let edges = self.desired.applications.iter().flat_map(|app| app.addresses.iter().copied());
        let own = self.asked.get_or_init(|| {
            let mut own = state::host_addresses().unwrap_or_default();
            own.extend(operators());
            own
        });
        let is_own = self.desired.edge.pools.iter().any(|pool| meets(*pool))
            || origins.chain(edges).chain(own.iter().copied()).any(|address| target.contains(&address.to_canonical()));
        is_own.then_some("it is an address of this node, of an origin or of an operator")
    }
}

/// Who is connected to this host by SSH: the peers of established connections to port 22.
fn operators() -> Vec<IpAddr> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let texts = tables.into_iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.flat_map(|text| text.lines().filter_map(peer).collect::<Vec<_>>()).collect()
}

/// The other end of an established connection to port 22, out of a line of `/proc/net/tcp` (`tcp4_seq_show`,
/// `net/ipv4/tcp_ipv4.c`): addresses are words in the byte order of the machine.
fn peer(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    let is_ssh = local.rsplit_once(':')?.1 == "0016" && state == "01";
    let address = remote.rsplit_once(':').filter(|_| is_ssh)?.0;
    let mut octets = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(&*octets) {
        Ok(octets) => IpAddr::from(octets),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&*octets).ok()?),
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_connected_by_ssh_is_read_off_the_kernels_table() {
        let lines = [
            ("  1: 010200C0:0016 070200C0:C350 01 00000000:00000000 00:00000000", Some("192.0.2.7")),
            ("  1: 010200C0:0016 070200C0:C350 06 00000000:00000000 00:00000000", None),
            ("  1: 010200C0:01BB 070200C0:C350 01 00000000:00000000 00:00000000", None),
            ("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when", None),
            (
                "  0: 00000000000000000000000000000000:0016 B80D0120000000000000000007000000:C350 01 0:0",
                Some("2001:db8::7"),
            ),
            (
                "  0: 0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF0000070200C0:C350 01 0:0",
                Some("192.0.2.7"),
            ),
        ];
        for (line, expected) in lines {
            assert_eq!(peer(line), expected.map(|address| address.parse().unwrap()), "{line}");
        }
    }
}
