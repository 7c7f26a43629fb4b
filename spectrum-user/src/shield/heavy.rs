//! Who sends most, in fixed memory: the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005) with a fading memory.
//!
//! There are as many counters as at the beginning, whatever is sent. A key that has none takes over the smallest, with its
//! weight: so a weight may be too large, by no more than is remembered with it, and never too small. Whoever sends more
//! than one part in `capacity` of everything has a counter.

use std::{collections::HashMap, hash::Hash};

/// The heaviest of many keys.
#[derive(Debug)]
pub struct HeavyHitters<K> {
    counters: HashMap<K, Weight>,
    capacity: usize,
    /// Of everything.
    total: f64,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weight {
    /// At most this.
    pub most: f64,
    /// How much of it may be others'.
    pub others: f64,
}

impl<K: Copy + Eq + Hash + Ord> HeavyHitters<K> {
    pub fn new(capacity: usize) -> Self {
        Self { counters: HashMap::with_capacity(capacity), capacity, total: 0.0 }
    }

    pub fn add(&mut self, key: K, weight: f64) {
        self.total += weight;
        if let Some(counter) = self.counters.get_mut(&key) {
            counter.most += weight;
            return;
        }
        let others = if self.counters.len() < self.capacity { 0.0 } else { self.make_room() };
        self.counters.insert(key, Weight { most: others + weight, others });
    }

    /// Takes the smallest counter away; its weight.
    fn make_room(&mut self) -> f64 {
        let smallest = self.counters.iter().min_by(|(_, a), (_, b)| a.most.total_cmp(&b.most));
        let Some((key, weight)) = smallest.map(|(key, weight)| (*key, weight.most)) else { return 0.0 };
        self.counters.remove(&key);
        weight
    }

    /// Everything weighs this much less from now on.
    pub fn fade(&mut self, factor: f64) {
        self.total *= factor;
        for counter in self.counters.values_mut() {
            counter.most *= factor;
            counter.others *= factor;
        }
        self.counters.retain(|_, counter| counter.most >= 0.01);
    }

    /// Up to `count` keys of which more is known to be theirs than others', the heaviest first.
    pub fn top(&self, count: usize) -> Vec<(K, Weight)> {
        let mut known: Vec<(K, Weight)> = self.counters.iter().map(|(key, weight)| (*key, *weight)).collect();
        known.retain(|(_, weight)| weight.most > 2.0 * weight.others);
        known.sort_by(|(key, a), (other, b)| b.most.total_cmp(&a.most).then_with(|| key.cmp(other)));
        known.truncate(count);
        known
    }

    /// The weight of everything.
    pub const fn total(&self) -> f64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_keys_are_counted_exactly() {
        let mut heavy = HeavyHitters::new(4);
        for (key, weight) in [(1, 5.0), (2, 1.0), (1, 2.0), (3, 4.0)] {
            heavy.add(key, weight);
        }
        let keys: Vec<(i32, f64)> = heavy.top(2).into_iter().map(|(key, weight)| (key, weight.most)).collect();
        assert_eq!(keys, [(1, 7.0), (3, 4.0)]);
        assert!((heavy.total() - 12.0).abs() < 1e-9);
    }

    #[test]
    fn a_flood_of_keys_takes_no_memory_and_hides_nobody_who_is_heavy() {
        let mut heavy = HeavyHitters::new(64);
        for round in 0..100_000_u32 {
            heavy.add(round + 1_000, 1.0);
            if round % 10 == 0 {
                heavy.add(7, 1.0);
            }
        }
        assert_eq!(heavy.counters.len(), 64);
        let top = heavy.top(10);
        assert_eq!(top.len(), 1, "those of whom one packet was seen are nobody's heavy hitters: {top:?}");
        let (key, weight) = top[0];
        assert_eq!(key, 7);
        assert!(weight.most >= 10_000.0 && weight.most - weight.others <= 10_000.0, "{weight:?}");
    }

    #[test]
    fn what_is_over_fades() {
        let mut heavy = HeavyHitters::new(4);
        heavy.add(1, 100.0);
        (0..10).for_each(|_| heavy.fade(0.5));
        heavy.add(2, 1.0);
        assert_eq!(heavy.top(1)[0].0, 2);
        (0..10).for_each(|_| heavy.fade(0.5));
        assert!(heavy.top(4).is_empty());
    }
}
