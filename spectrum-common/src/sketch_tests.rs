use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SEED: u64 = 0x5eed;
const OWNER: u64 = 7;

/// The map of the kernel, without the kernel.
pub(crate) struct Memory(Vec<Cell>);

impl Default for Memory {
    fn default() -> Self {
        Self(vec![Cell::default(); ROWS * WIDTH])
    }
}

impl Cells for Memory {
    fn count(&self, at: u32, window: u32) -> u32 {
        self.0[at as usize].count(window)
    }

    fn raise(&mut self, at: u32, window: u32, to: u32) {
        self.0[at as usize].raise(window, to);
    }
}

fn see(cells: &mut Memory, source: u64, window: u32) {
    let places = places(SEED, OWNER, source);
    let before = seen(cells, places, window);
    count(cells, places, window, before);
}

fn told(cells: &Memory, source: u64, window: u32) -> u32 {
    seen(cells, places(SEED, OWNER, source), window)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However often, by whom and in which order.
    #[test]
    fn a_count_is_never_too_low(sources in prop::collection::vec(0_u64..500, 1..3000), window: u32) {
        let mut cells = Memory::default();
        let mut truth: HashMap<u64, u32> = HashMap::new();
        for source in sources {
            see(&mut cells, source, window);
            *truth.entry(source).or_default() += 1;
        }
        for (source, times) in truth {
            prop_assert!(told(&cells, source, window) >= times);
        }
    }

    #[test]
    fn places_are_in_their_rows(seed: u64, owner: u64, source: u64) {
        let [first, second] = places(seed, owner, source).map(|at| at as usize);
        prop_assert!(first < WIDTH && (WIDTH..ROWS * WIDTH).contains(&second));
    }

    #[test]
    fn a_cell_never_overflows_and_never_counts_down_within_a_window(window: u32, to in prop::collection::vec(any::<u32>(), 1..20)) {
        let mut cell = Cell::default();
        let mut most = 0;
        for to in to {
            cell.raise(window, to);
            most = most.max(to);
            prop_assert_eq!(cell.count(window), most);
        }
    }
}

#[test]
fn what_was_seen_in_another_window_is_forgotten() {
    let mut cells = Memory::default();
    for _ in 0..1000 {
        see(&mut cells, 1, 10);
    }
    assert_eq!(told(&cells, 1, 10), 1000);
    assert_eq!(told(&cells, 1, 11), 0);
    assert_eq!(told(&cells, 1, u32::MAX), 0);
    see(&mut cells, 1, 11);
    assert_eq!(told(&cells, 1, 11), 1);
}

/// Two CPUs at the edge of a window: the one that is late neither forgets nor starts anew.
#[test]
fn a_clock_that_is_a_moment_late_belongs_to_the_new_window() {
    let mut cells = Memory::default();
    see(&mut cells, 1, 11);
    see(&mut cells, 1, 10);
    assert_eq!(told(&cells, 1, 11), 2);
}

#[test]
fn a_clock_that_jumps_far_back_starts_anew() {
    let mut cells = Memory::default();
    for _ in 0..1000 {
        see(&mut cells, 1, 1_000_000);
    }
    assert_eq!(told(&cells, 1, 5), 0, "nobody waits until it has caught up");
    see(&mut cells, 1, 5);
    assert_eq!(told(&cells, 1, 5), 1);
}

/// The bound of a count-min sketch: with probability 1 - e^-ROWS a count is too high by no more than e / WIDTH of all.
#[test]
fn a_flood_of_forged_sources_raises_a_count_by_no_more_than_the_bound() {
    let mut cells = Memory::default();
    let flood = 1_000_000_u64;
    for source in 0..flood {
        see(&mut cells, source.wrapping_mul(0x9e37_79b9_7f4a_7c15), 3);
    }
    let bound = u32::try_from(flood * 2718 / 1000 / WIDTH as u64).unwrap();
    let strangers = 10_000;
    let over = (0..strangers).filter(|source| told(&cells, u64::MAX - source, 3) > bound).count();
    assert!(over * 100 < 14 * usize::try_from(strangers).unwrap(), "{over} of {strangers} over {bound}");
    // Conservative updates do far better than the bound says.
    assert!((0..strangers).all(|source| told(&cells, u64::MAX - source, 3) < 20));
}

#[test]
fn a_full_cell_stays_full() {
    let mut cells = Memory::default();
    let places = places(SEED, OWNER, 1);
    count(&mut cells, places, 1, u32::MAX);
    assert_eq!(seen(&cells, places, 1), u32::MAX);
}

#[test]
fn another_seed_puts_sources_elsewhere() {
    let together = |seed: u64| {
        let taken: HashMap<_, _> = (0..1000_u64).map(|source| (places(seed, OWNER, source), source)).collect();
        taken.len()
    };
    assert!((0..10).all(|seed| together(seed) == 1000), "two keys share both cells once in 2^34");
    assert_ne!(places(1, OWNER, 1), places(2, OWNER, 1));
    assert_ne!(places(1, OWNER, 1), places(1, OWNER + 1, 1));
}

#[test]
fn rates_are_for_a_second_and_windows_are_a_little_longer() {
    assert_eq!((per_window(1), per_window(100), per_window(1_000_000)), (1, 107, 1_073_741));
    assert_eq!(per_window(0), 1, "a limit is never nothing at all");
    assert_eq!(per_window(u32::MAX), u32::MAX - 1);
    assert_eq!(window(0), 0);
    assert_eq!(window(u64::MAX), u32::MAX);
}
