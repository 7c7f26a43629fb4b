//! Whether a source does too much, and for how long: a judgement over counts, without any I/O.
//!
//! Two kinds of evidence are told apart. Connections that were accepted are *proven*: who completes a handshake gets
//! what is sent to its address. Sampled packets are not: their source is whatever the sender wrote. If a rule followed
//! from those, anybody could have a third party blocked by sending packets in its name. So only proven evidence about
//! one host leads to a rule that acts. All else leads to one that is tried, for an operator to decide.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::Frequent;
use crate::model::AutoRules;

/// Looks in a row that must see too much.
const LOOKS: u32 = 3;
/// The share of all that one source must have: who is one of a hundred equals does not stand out.
const SHARE: f64 = 0.01;
/// The share of the limit below which a source is calm.
const CALM_BELOW: f64 = 0.5;
/// How long it must be calm.
const CALM_FOR: Duration = Duration::from_secs(10);
/// How long a rule stays away that an operator took away.
const HELD_OFF: Duration = Duration::from_hours(1);

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub mode: AutoRules,
    /// Accepted connections a second, of one source.
    pub connections: f64,
    /// Packets a second, of one source.
    pub packets: f64,
    /// Rules at once, of each kind of evidence.
    pub most: usize,
}

/// What was seen since the last look.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections accepted, by host: an IPv4 address, or an IPv6 /64.
    pub connections: Frequent<IpNet>,
    /// Packets by host, as far as samples tell.
    pub packets: Frequent<IpNet>,
    /// Packets by network: an IPv4 /24, or an IPv6 /48.
    pub networks: Frequent<IpNet>,
    /// Packets that a rule of ours has stopped.
    pub matched: HashMap<IpNet, u64>,
}

/// What to do about rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A rule about this; one that is there already gives way.
    Install {
        target: IpNet,
        simulate: bool,
        why: String,
    },
    Withdraw {
        target: IpNet,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Evidence {
    /// Forgeable, and about many hosts.
    Network,
    /// Forgeable.
    Packets,
    Connections,
}

/// What is known of sources that do too much.
#[derive(Debug, Default)]
pub struct Mitigation {
    /// How many looks in a row.
    suspects: HashMap<(IpNet, Evidence), u32>,
    active: HashMap<IpNet, Active>,
    held_off: HashMap<IpNet, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    evidence: Evidence,
    limit: f64,
    calm_since: Option<Instant>,
}

/// The host that an address belongs to: an IPv6 network of 64 bits is one household's or one server's.
pub fn host(address: IpAddr) -> IpNet {
    prefix(address, 32, 64)
}

/// The network that an address belongs to, as small as networks are announced.
pub fn network(address: IpAddr) -> IpNet {
    prefix(address, 24, 48)
}

fn prefix(address: IpAddr, v4: u8, v6: u8) -> IpNet {
    let length = if address.is_ipv4() { v4 } else { v6 };
    IpNet::new(address, length).unwrap_or_else(|_| address.into()).trunc()
}

impl Mitigation {
    /// Judges what was seen since the last look, `elapsed` ago by a clock that never jumps. `exempt` says why a
    /// source must not be touched, where that is so.
    pub fn look(
        &mut self,
        now: Instant,
        elapsed: Duration,
        seen: &Seen,
        bounds: Bounds,
        exempt: impl Fn(IpNet) -> Option<&'static str>,
    ) -> Vec<Verdict> {
        if elapsed.is_zero() || bounds.mode == AutoRules::Off {
            return Vec::new();
        }
        self.held_off.retain(|_, until| *until > now);
        let rate = |count: u64| rate(count, elapsed);
        let mut verdicts = self.withdraw(now, seen, &rate);
        let mut over = Vec::new();
        let kinds = [
            (Evidence::Connections, &seen.connections, bounds.connections),
            (Evidence::Packets, &seen.packets, bounds.packets),
            (Evidence::Network, &seen.networks, bounds.packets),
        ];
        for (evidence, counts, limit) in kinds {
            let least = limit.max(rate(counts.total()) * SHARE);
            over.extend(
                counts.iter().map(|(target, count)| (target, evidence, rate(count), limit)).filter(|o| o.2 >= least),
            );
        }
        // A network is to blame only for what its heaviest hosts do not explain.
        let hosts: Vec<(IpNet, f64)> = seen.packets.iter().map(|(host, count)| (host, rate(count))).collect();
        over.retain(|(target, evidence, seen, limit)| {
            let explained =
                hosts.iter().filter(|(host, rate)| target.contains(host) && rate >= limit).map(|(_, rate)| rate);
            *evidence != Evidence::Network || seen - explained.sum::<f64>() >= *limit
        });
        let mut suspects = std::mem::take(&mut self.suspects);
        // The better proven first, and of each kind the heavier.
        over.sort_by(|a, b| b.1.cmp(&a.1).then(b.2.total_cmp(&a.2)));
        for (target, evidence, seen_rate, limit) in over {
            let looks = suspects.remove(&(target, evidence)).unwrap_or_default() + 1;
            self.suspects.insert((target, evidence), looks);
            // Better proof takes the place of what could be forged: else somebody could forge it first, on purpose.
            let known = self.active.get(&target).is_some_and(|active| active.evidence >= evidence);
            // For the same reason the two kinds do not share their places.
            let is_proven = |evidence| evidence == Evidence::Connections;
            let places =
                self.active.values().filter(|active| is_proven(active.evidence) == is_proven(evidence)).count();
            let spared = known || self.held_off.contains_key(&target) || places >= bounds.most;
            if looks < LOOKS || spared || exempt(target).is_some() {
                continue;
            }
            let simulate = bounds.mode != AutoRules::Enforce || evidence != Evidence::Connections;
            let total = match evidence {
                Evidence::Connections => seen.connections.total(),
                Evidence::Packets => seen.packets.total(),
                Evidence::Network => seen.networks.total(),
            };
            let why = why(evidence, seen_rate, limit, rate(total));
            self.active.insert(target, Active { evidence, limit, calm_since: None });
            verdicts.push(Verdict::Install { target, simulate, why });
        }
        verdicts
    }

    fn withdraw(&mut self, now: Instant, seen: &Seen, rate: &impl Fn(u64) -> f64) -> Vec<Verdict> {
        let mut calm = Vec::new();
        for (target, active) in &mut self.active {
            let counts = match active.evidence {
                Evidence::Connections => &seen.connections,
                Evidence::Packets => &seen.packets,
                Evidence::Network => &seen.networks,
            };
            // Either shows that it goes on: what gets through, and what the rule stops.
            let through = counts.iter().find(|(key, _)| key == target).map_or(0, |(_, count)| count);
            let stopped = seen.matched.get(target).copied().unwrap_or_default();
            let most = rate(through.max(stopped));
            if most >= active.limit * CALM_BELOW {
                active.calm_since = None;
            } else if now.duration_since(*active.calm_since.get_or_insert(now)) >= CALM_FOR {
                calm.push(*target);
            }
        }
        for target in &calm {
            self.active.remove(target);
        }
        calm.into_iter().map(|target| Verdict::Withdraw { target }).collect()
    }

    /// A rule of ours ended, or never came to be.
    pub fn ended(&mut self, target: IpNet) {
        self.active.remove(&target);
    }

    /// An operator took a rule of ours away: it does not come back for a while.
    pub fn taken_away(&mut self, target: IpNet, now: Instant) {
        self.active.remove(&target);
        if let Some(until) = now.checked_add(HELD_OFF) {
            self.held_off.insert(target, until);
        }
    }

    /// What the rules that are in force are about.
    pub fn active(&self) -> impl Iterator<Item = IpNet> {
        self.active.keys().copied()
    }
}

fn why(evidence: Evidence, rate: f64, limit: f64, total: f64) -> String {
    let (what, proof) = match evidence {
        Evidence::Connections => ("connections", "their source is proven"),
        Evidence::Packets => ("packets", "sampled, their source may be forged"),
        Evidence::Network => ("packets", "sampled over many hosts, their source may be forged"),
    };
    format!("automatic: {rate:.0} {what} a second of {total:.0} in all, where {limit:.0} are too many; {proof}")
}

#[expect(clippy::cast_precision_loss, reason = "counts of a moment, compared roughly")]
fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

#[cfg(test)]
#[path = "mitigation_tests.rs"]
mod tests;
