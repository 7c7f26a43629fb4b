//! The few that do most, found in fixed memory (Misra and Gries, "Finding repeated elements", 1982).
//!
//! For judgements: in whole numbers, bounded from below, and what several have counted can be joined. What people look at is
//! in [`super::HeavyHitters`], which fades and estimates. What is said of a key here is never more than it did, and
//! whatever does more than one part in `CAPACITY + 1` of all is here.

use std::{collections::HashMap, hash::Hash};

/// Keys that are remembered.
pub(super) const CAPACITY: usize = 256;

#[derive(Clone, Debug)]
pub struct Frequent<K> {
    counts: HashMap<K, u64>,
    total: u64,
}

impl<K> Default for Frequent<K> {
    fn default() -> Self {
        Self { counts: HashMap::with_capacity(CAPACITY), total: 0 }
    }
}

impl<K: Eq + Hash + Copy> Frequent<K> {
    pub fn add(&mut self, key: K, weight: u64) {
        self.total = self.total.saturating_add(weight);
        if let Some(count) = self.counts.get_mut(&key) {
            *count = count.saturating_add(weight);
            return;
        }
        let mut weight = weight;
        if self.counts.len() >= CAPACITY {
            // Every key pays for the newcomer, and the newcomer too: what many small ones do cancels out. Each payment
            // was brought by an `add` before, so all of them together take no more time than those.
            let least = self.counts.values().copied().min().unwrap_or_default().min(weight);
            self.counts.retain(|_, count| {
                *count -= least;
                *count > 0
            });
            weight -= least;
        }
        if weight > 0 && self.counts.len() < CAPACITY {
            self.counts.insert(key, weight);
        }
    }

    /// What all keys did.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// At least so much of it did each of these.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        self.counts.iter().map(|(key, count)| (*key, *count))
    }

    /// Begins anew, and gives what was counted.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Everything counts this much less from now on.
    pub fn fade(&mut self, keep: u64, of: u64) {
        self.total = self.total.saturating_mul(keep) / of;
        self.counts.retain(|_, count| {
            *count = count.saturating_mul(keep) / of;
            *count > 0
        });
    }

    /// What both counted together.
    pub fn merge(&mut self, other: &Self) {
        let total = self.total.saturating_add(other.total);
        for (key, count) in other.iter() {
            self.add(key, count);
        }
        self.total = total;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_million_others_do_not_hide_who_does_most() {
        let mut heavy = Frequent::default();
        for number in 0..1_000_000_u32 {
            heavy.add(number + 10, 1);
            if number % 20 == 0 {
                heavy.add(1, 1);
            }
        }
        assert!(heavy.counts.len() <= CAPACITY);
        let found = heavy.iter().find(|(key, _)| *key == 1).unwrap().1;
        assert!((40_000..=50_000).contains(&found), "{found} of 50,000");
        assert!(heavy.iter().all(|(key, count)| key == 1 || count < 10), "the others are noise");
    }

    proptest! {
        #[test]
        fn it_never_says_more_than_was_done_and_misses_no_heavy_one(adds in prop::collection::vec((0u32..2000, 1u64..50), 0..4000)) {
            let mut heavy = Frequent::default();
            let mut real: HashMap<u32, u64> = HashMap::new();
            for (key, weight) in adds {
                // Few keys do a lot, many do a little.
                let key = if key % 3 == 0 { key % 30 } else { key };
                heavy.add(key, weight);
                *real.entry(key).or_default() += weight;
            }
            let lost = heavy.total() / (CAPACITY as u64 + 1);
            let found: HashMap<u32, u64> = heavy.iter().collect();
            prop_assert!(found.len() <= CAPACITY);
            for (key, count) in real {
                let said = found.get(&key).copied().unwrap_or_default();
                prop_assert!(said <= count && said + lost >= count, "{key}: {said} of {count}");
            }
        }
    }
}
