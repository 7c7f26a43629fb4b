//! What autonomous systems and countries do on other days: most of what one sees comes from few of them, and that says
//! nothing against them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::counts::Proof;
use crate::model::Target;

/// How long it only learns.
const LEARNS: Duration = Duration::from_secs(20);
/// What it averages over.
const OVER: Duration = Duration::from_mins(5);
/// How many are remembered, the heaviest: who is not among them does nothing usually.
const MOST: usize = 1024;

/// Rates a second, averaged.
#[derive(Debug, Default)]
pub(super) struct Usual {
    since: Option<Instant>,
    rates: HashMap<(Proof, Target), f64>,
}

impl Usual {
    /// What one does usually. None: nobody can say yet.
    pub(super) fn of(&self, now: Instant, proof: Proof, target: Target) -> Option<f64> {
        self.since.filter(|since| now.duration_since(*since) >= LEARNS)?;
        Some(self.rates.get(&(proof, target)).copied().unwrap_or_default())
    }

    /// Takes in what was done in the last moment. Who is not in it did nothing.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        elapsed: Duration,
        did: impl Iterator<Item = (Proof, Target, f64)>,
        is_unusual: impl Fn(Proof, Target) -> bool,
    ) {
        let mut did: HashMap<(Proof, Target), f64> = did.map(|(proof, target, rate)| ((proof, target), rate)).collect();
        let since = *self.since.get_or_insert_with(|| now.checked_sub(elapsed).unwrap_or(now));
        // The plain average of the first minutes, then one that forgets.
        let over = now.duration_since(since).min(OVER).max(elapsed);
        let weight = elapsed.as_secs_f64() / over.as_secs_f64();
        for ((proof, target), usual) in &mut self.rates {
            let rate = did.remove(&(*proof, *target)).unwrap_or_default();
            if !is_unusual(*proof, *target) {
                *usual += (rate - *usual) * weight;
            }
        }
        let new = did.into_iter().filter(|((proof, target), _)| !is_unusual(*proof, *target));
        self.rates.extend(new.map(|(key, rate)| (key, rate * weight)));
        self.rates.retain(|_, rate| *rate >= 0.01);
        if self.rates.len() > MOST {
            let mut rates: Vec<f64> = self.rates.values().copied().collect();
            rates.sort_by(|a, b| b.total_cmp(a));
            let least = rates.get(MOST).copied().unwrap_or_default();
            self.rates.retain(|_, rate| *rate > least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(1);

    #[test]
    fn it_learns_at_first_and_forgets_slowly_and_never_learns_what_is_unusual() {
        let mut usual = Usual::default();
        let begin = Instant::now();
        let mut now = begin;
        let mut look = |usual: &mut Usual, rate: f64, unusual: bool| {
            now += LOOK;
            usual.learn(now, LOOK, [(Proof::Proven, Target::Asn(1), rate)].into_iter(), |_, _| unusual);
            usual.of(now, Proof::Proven, Target::Asn(1))
        };
        for _ in 0..19 {
            assert_eq!(look(&mut usual, 100.0, false), None);
        }
        let learned = look(&mut usual, 100.0, false).unwrap();
        assert!((learned - 100.0).abs() < 1e-6, "{learned}");
        for _ in 0..600 {
            look(&mut usual, 9000.0, true);
        }
        assert_eq!(look(&mut usual, 9000.0, true), Some(learned));
        for _ in 0..300 {
            look(&mut usual, 10.0, false);
        }
        let later = look(&mut usual, 10.0, false).unwrap();
        assert!((20.0..60.0).contains(&later), "{later}");
        assert_eq!(usual.of(now, Proof::Forgeable, Target::Asn(1)), Some(0.0), "the other kind is another matter");
    }

    #[test]
    fn a_million_networks_take_no_memory() {
        let mut usual = Usual::default();
        let mut now = Instant::now();
        for look in 0..1000_u32 {
            now += LOOK;
            let did = (0..1000).map(|number| (Proof::Forgeable, Target::Asn(look * 1000 + number), 1000.0));
            usual.learn(now, LOOK, did, |_, _| false);
            assert!(usual.rates.len() <= MOST);
        }
    }
}
