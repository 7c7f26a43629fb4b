//! Whether a source does too much, and for how long: a judgement over counts, without any I/O.
//!
//! Two kinds of evidence are told apart. Connections that were accepted are *proven*: who completes a handshake gets
//! what is sent to its address. Sampled packets are not: their source is whatever the sender wrote. If a rule followed
//! from those, anybody could have a third party blocked by sending packets in its name. So only proven evidence about
//! one host leads to a rule that acts. All else leads to one that is tried, for an operator to decide: also what is
//! proven of a network or a country, because most of those who are there did nothing.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use spectrum_common::geo::Class;

use super::{
    blame::Blame,
    counts::{Proof, Seen, Width},
    usual::Usual,
};
use crate::model::{AutoRules, Target};

/// Looks in a row that must see too much.
const LOOKS: u32 = 3;
/// Nobody is blamed on the word of fewer samples in a look.
const SAMPLES: u64 = 3;
/// The share of all that one source must have: who is one of a hundred equals does not stand out.
const SHARE: f64 = 0.01;
/// The same of an autonomous system or a country: there are few that matter.
const CLASS_SHARE: f64 = 0.1;
/// How many times the bound of one source they must do.
const CLASS_TIMES: f64 = 4.0;
/// How many times what they do usually.
const ABOVE_USUAL: f64 = 4.0;
/// The share of the limit below which a source is calm.
const CALM_BELOW: f64 = 0.5;
/// How long it must be calm.
const CALM_FOR: Duration = Duration::from_secs(10);
/// How long a rule stays away that an operator took away.
const HELD_OFF: Duration = Duration::from_hours(1);
/// And one that could not be made: who holds a map full may let go of it.
const TRIED_AGAIN: Duration = Duration::from_mins(1);

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub mode: AutoRules,
    /// Accepted connections a second, of one source.
    pub connections: f64,
    /// Packets a second, of one source.
    pub packets: f64,
    /// Rules at once, of each kind: by proven evidence, by forgeable, and by network and country.
    pub most: usize,
}

/// Who else there is, beside those who do too much.
pub trait Bystanders {
    /// Network and country of an address. None: there is no database.
    fn class(&self, address: IpAddr) -> Option<Class>;
    /// Why a target must not be touched, where that is so.
    fn spares(&self, target: Target) -> Option<&'static str>;
    /// How many clients that are being served a target names, and how many there are.
    fn served(&self, target: Target) -> (usize, usize);
}

/// What to do about rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A rule about this; one that is there already gives way.
    Install {
        target: Target,
        simulate: bool,
        why: String,
    },
    Withdraw {
        target: Target,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Evidence {
    proof: Proof,
    width: Width,
}

/// What is known of sources that do too much.
#[derive(Debug, Default)]
pub struct Mitigation {
    /// How many looks in a row.
    suspects: HashMap<(Target, Evidence), u32>,
    active: HashMap<Target, Active>,
    held_off: HashMap<Target, Instant>,
    usual: Usual,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    evidence: Evidence,
    limit: f64,
    calm_since: Option<Instant>,
}

/// One that does too much.
#[derive(Clone, Copy, Debug)]
struct Over {
    target: Target,
    evidence: Evidence,
    rate: f64,
    limit: f64,
    /// Of all.
    total: f64,
}

/// A look: when, and how long after the one before.
#[derive(Clone, Copy, Debug)]
struct Look {
    now: Instant,
    elapsed: Duration,
}

impl Mitigation {
    /// Judges what was seen since the last look, `elapsed` ago by a clock that never jumps.
    pub fn look(
        &mut self,
        now: Instant,
        elapsed: Duration,
        seen: &Seen,
        bounds: Bounds,
        others: &impl Bystanders,
    ) -> Vec<Verdict> {
        if elapsed.is_zero() || bounds.mode == AutoRules::Off {
            return Vec::new();
        }
        let look = Look { now, elapsed };
        self.held_off.retain(|_, until| *until > now);
        let mut verdicts = self.withdraw(look, seen);
        let mut over: Vec<Over> = [Proof::Forgeable, Proof::Proven]
            .into_iter()
            .flat_map(|proof| self.over(look, proof, seen, bounds, others))
            .collect();
        self.learn(look, seen, &over, others);
        let mut suspects = std::mem::take(&mut self.suspects);
        // The better proven first, and of each kind the heavier.
        over.sort_by(|a, b| b.evidence.cmp(&a.evidence).then(b.rate.total_cmp(&a.rate)));
        for over in over {
            let Over { target, evidence, limit, .. } = over;
            let looks = suspects.remove(&(target, evidence)).unwrap_or_default() + 1;
            self.suspects.insert((target, evidence), looks);
            // Better proof takes the place of what could be forged: else somebody could forge it first, on purpose.
            let known = self.active.get(&target).is_some_and(|active| active.evidence >= evidence);
            // For the same reason the kinds do not share their places.
            let places = self.active.values().filter(|active| active.evidence.kind() == evidence.kind()).count();
            let spared = known || self.held_off.contains_key(&target) || places >= bounds.most;
            if looks < LOOKS || spared || others.spares(target).is_some() {
                continue;
            }
            let simulate = bounds.mode != AutoRules::Enforce || !evidence.may_act();
            let why = why(over, others);
            self.active.insert(target, Active { evidence, limit, calm_since: None });
            verdicts.push(Verdict::Install { target, simulate, why });
        }
        verdicts
    }

    /// Those that did too much in this look, by one kind of evidence.
    fn over(&self, look: Look, proof: Proof, seen: &Seen, bounds: Bounds, others: &impl Bystanders) -> Vec<Over> {
        let counts = seen.of(proof);
        let (of_one, noise) = match proof {
            Proof::Forgeable => (bounds.packets, look.rate(seen.grain.saturating_mul(SAMPLES))),
            Proof::Proven => (bounds.connections, 0.0),
        };
        let total = look.rate(counts.total());
        let class_of = |address| others.class(address).unwrap_or(Class::UNKNOWN);
        let (mut blame, mut over) = (Blame::default(), Vec::new());
        for width in Width::NARROW_FIRST {
            let limit = if width.is_class() { of_one * CLASS_TIMES } else { of_one };
            // Of many forged hosts each that is sampled once would seem to do as much as a sample stands for, and to explain
            // what its network does.
            let shown = limit.max(noise);
            let counts_of = counts.of(width).iter().map(|(target, count)| (target, look.rate(count)));
            // A wider one is to blame only for what narrower ones do not explain.
            let to_blame: Vec<(Target, f64)> =
                counts_of.filter(|(target, rate)| *rate >= shown && rate - blame.explains(*target) >= limit).collect();
            for (target, rate) in to_blame {
                let classes = counts.classes().iter().map(|(class, count)| (class, look.rate(count)));
                blame.add(target, rate, class_of, classes);
                let (share, limit) = if width.is_class() {
                    let Some(usual) = self.usual.of(look.now, proof, target) else { continue };
                    (CLASS_SHARE, limit.max(usual * ABOVE_USUAL))
                } else {
                    (SHARE, limit)
                };
                if rate >= limit.max(total * share) {
                    over.push(Over { target, evidence: Evidence { proof, width }, rate, limit, total });
                }
            }
        }
        over
    }

    /// What classes do usually, from those that do not do too much now.
    fn learn(&mut self, look: Look, seen: &Seen, over: &[Over], others: &impl Bystanders) {
        if others.class(IpAddr::from([0, 0, 0, 0])).is_none() {
            self.usual = Usual::default();
            return;
        }
        let did = [Proof::Forgeable, Proof::Proven].into_iter().flat_map(|proof| {
            let classes =
                [Width::Asn, Width::Country].into_iter().flat_map(move |width| seen.of(proof).of(width).iter());
            classes.map(move |(target, count)| (proof, target, look.rate(count)))
        });
        let is_over = |proof, target| over.iter().any(|over| over.target == target && over.evidence.proof == proof);
        self.usual.learn(look.now, look.elapsed, did, is_over);
    }

    fn withdraw(&mut self, look: Look, seen: &Seen) -> Vec<Verdict> {
        let mut calm = Vec::new();
        for (target, active) in &mut self.active {
            // Either shows that it goes on: what gets through, and what the rule stops.
            let through = seen.of(active.evidence.proof).did(*target);
            let stopped = seen.matched.get(target).copied().unwrap_or_default();
            if look.rate(through.max(stopped)) >= active.limit * CALM_BELOW {
                active.calm_since = None;
            } else if look.now.duration_since(*active.calm_since.get_or_insert(look.now)) >= CALM_FOR {
                calm.push(*target);
            }
        }
        for target in &calm {
            self.active.remove(target);
        }
        calm.into_iter().map(|target| Verdict::Withdraw { target }).collect()
    }

    /// A rule of ours ended.
    pub fn ended(&mut self, target: Target) {
        self.active.remove(&target);
    }

    /// An operator took a rule of ours away: it does not come back for a while.
    pub fn taken_away(&mut self, target: Target, now: Instant) {
        self.hold_off(target, now, HELD_OFF);
    }

    /// A rule of ours could not be made. It is tried again, but not at every look.
    pub fn failed(&mut self, target: Target, now: Instant) {
        self.hold_off(target, now, TRIED_AGAIN);
    }

    fn hold_off(&mut self, target: Target, now: Instant, time: Duration) {
        self.active.remove(&target);
        if let Some(until) = now.checked_add(time) {
            self.held_off.insert(target, until);
        }
    }

    /// What the rules that are in force are about.
    pub fn active(&self) -> impl Iterator<Item = Target> {
        self.active.keys().copied()
    }

    /// Whether a rule about this is in force.
    pub fn is_active(&self, target: Target) -> bool {
        self.active.contains_key(&target)
    }
}

impl Evidence {
    /// Whether a rule may follow that does more than to be tried.
    fn may_act(self) -> bool {
        self == Self { proof: Proof::Proven, width: Width::Host }
    }

    /// Each kind has places of its own: whether it is about a class, and else how it is proven.
    fn kind(self) -> (bool, Option<Proof>) {
        let is_class = self.width.is_class();
        (is_class, (!is_class).then_some(self.proof))
    }
}

impl Look {
    #[expect(clippy::cast_precision_loss, reason = "counts of a moment, compared roughly")]
    fn rate(self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }
}

fn why(over: Over, others: &impl Bystanders) -> String {
    let Over { target, evidence, rate, limit, total } = over;
    let what = match evidence.proof {
        Proof::Proven => "connections",
        Proof::Forgeable => "packets",
    };
    let proof = match (evidence.proof, evidence.width) {
        (Proof::Proven, Width::Host) => "their source is proven",
        (Proof::Proven, _) => "of many hosts, their sources are proven",
        (Proof::Forgeable, Width::Host) => "sampled, their source may be forged",
        (Proof::Forgeable, _) => "sampled over many hosts, their source may be forged",
    };
    let why =
        format!("automatic: {rate:.0} {what} a second of {total:.0} in all, where {limit:.0} are too many; {proof}");
    if !evidence.width.is_class() {
        return why;
    }
    let (inside, all) = others.served(target);
    format!("{why}; {inside} of {all} clients that are being served are in it; only an operator makes it act")
}

#[cfg(test)]
#[path = "mitigation_tests.rs"]
mod tests;
