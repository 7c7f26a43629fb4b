use proptest::prelude::*;

use super::*;
use crate::sketch::tests::Memory;

const SEED: u64 = 0x5eed;

/// An application and its sources, window by window. In a window the sources take turns packet by packet, so a source
/// that sends more is also there more often at every moment.
struct Run {
    share: Share,
    cells: Memory,
    limits: Limits,
    window: u32,
}

impl Run {
    fn new(per_source: u32, total: u32) -> Self {
        Self { share: Share::default(), cells: Memory::default(), limits: Limits { per_source, total }, window: 100 }
    }

    fn judge(&mut self, source: Source) -> Judgement {
        judge(&mut self.share, self.limits, &mut self.cells, source, (SEED, 1), self.window)
    }

    /// One window in which each source sends so much; what each got through.
    fn window(&mut self, sources: &[(Source, u32)]) -> Vec<u32> {
        self.window += 1;
        let mut passed = vec![0; sources.len()];
        let longest = sources.iter().map(|(_, sends)| *sends).max().unwrap_or(0);
        for tick in 0..longest {
            for ((source, sends), passed) in sources.iter().zip(&mut passed) {
                // Evenly over the window.
                let due = |tick: u32| u64::from(tick) * u64::from(*sends) / u64::from(longest);
                if due(tick + 1) > due(tick) && self.judge(*source) == Judgement::Pass {
                    *passed += 1;
                }
            }
        }
        passed
    }

    fn windows(&mut self, count: u32, sources: &[(Source, u32)]) -> Vec<u32> {
        let mut last = Vec::new();
        for _ in 0..count {
            last = self.window(sources);
        }
        last
    }
}

/// Sources of different networks.
fn source(number: u32) -> Source {
    Source { host: u64::from(number) << 8 | 1, network: u64::from(number) }
}

fn polite(count: u32, sends: u32) -> Vec<(Source, u32)> {
    (1..=count).map(|number| (source(number), sends)).collect()
}

#[test]
fn a_source_has_its_limit_and_no_more_and_a_new_one_in_the_next_window() {
    let mut run = Run::new(10, UNLIMITED);
    assert_eq!(run.window(&[(source(1), 1000), (source(2), 10), (source(3), 9)]), [10, 10, 9]);
    assert_eq!(run.window(&[(source(1), 1000)]), [10]);
    assert_eq!(run.judge(source(1)), Judgement::SourceOver);
}

#[test]
fn within_the_total_nobody_is_refused() {
    let mut run = Run::new(UNLIMITED, 1000);
    let sources = [(source(1), 900), (source(2), 50), (source(3), 50)];
    assert_eq!(run.windows(5, &sources), [900, 50, 50]);
    let mut alone = Run::new(UNLIMITED, 1000);
    assert_eq!(alone.windows(5, &[(source(1), 1000)]), [1000], "one source may have all of it");
}

#[test]
fn one_flooding_source_never_starves_polite_ones_not_even_at_first() {
    let mut sources = polite(50, 4);
    sources.push((source(99), 200_000));
    let mut run = Run::new(UNLIMITED, 1000);
    run.window(&polite(50, 4));
    for window in 0..10 {
        let passed = run.window(&sources);
        let (flooder, polite) = passed.split_last().unwrap();
        assert!(polite.iter().all(|passed| *passed == 4), "window {window}: {passed:?}");
        assert!(*flooder <= 1000, "window {window}: {flooder}");
    }
    // What the polite leave is the flooder's: it is not punished.
    let last = run.window(&sources);
    let flooder = last.last().copied().unwrap();
    assert!((700..=805).contains(&flooder), "{flooder}");
}

#[test]
fn a_share_is_found_among_many_that_want_more() {
    let mut sources = polite(40, 100);
    sources.push((source(99), 100_000));
    let mut run = Run::new(UNLIMITED, 1000);
    let passed = run.windows(12, &sources);
    // 41 of them, and room for 24 each.
    assert!(passed.iter().all(|passed| (20..=26).contains(passed)), "{passed:?}");
    let all: u32 = passed.iter().sum();
    assert!((900..=1100).contains(&all), "{all}");
}

#[test]
fn when_the_flood_is_over_the_room_is_everybodys_again() {
    let mut sources = polite(40, 100);
    sources.push((source(99), 100_000));
    let mut run = Run::new(UNLIMITED, 1000);
    run.windows(12, &sources);
    run.windows(3, &polite(3, 10));
    assert_eq!(run.window(&[(source(1), 900)]), [900]);
    run.windows(12, &sources);
    run.window += 60;
    assert_eq!(run.window(&[(source(1), 900)]), [900], "also after a silence");
}

#[test]
fn a_network_of_flooding_sources_is_held_like_a_few_of_them() {
    // Two hundred addresses of one /24, each sending little more than the polite ones.
    let crowd = (0..200).map(|host| (Source { host: 0xffff_ff00 | host, network: 0x00ff_ffff }, 50));
    let sources: Vec<_> = polite(50, 10).into_iter().chain(crowd).collect();
    let mut run = Run::new(UNLIMITED, 1000);
    run.window(&polite(50, 10));
    for window in 0..20 {
        let passed = run.window(&sources);
        let polite: u32 = passed.iter().take(50).sum();
        let network: u32 = passed.iter().skip(50).sum();
        if window >= 8 {
            assert!(polite >= 480, "window {window}: {polite} of 500");
            assert!(network <= 600, "window {window}: {network}");
        }
    }
}

/// Against forged addresses no limit helps; it must not harm others, either.
#[test]
fn forged_sources_of_one_application_do_not_reach_another_ones() {
    let mut run = Run::new(5, UNLIMITED);
    run.window += 1;
    for number in 0..1_000_000_u32 {
        assert_eq!(run.judge(source(number)), Judgement::Pass);
    }
    // Another application in the same sketch: its sources have their five.
    let mut share = Share::default();
    let mut short = 0;
    for number in 0..1000 {
        let passed = (0..5)
            .filter(|_| {
                let who = (SEED, 2);
                judge(&mut share, run.limits, &mut run.cells, source(number), who, run.window) == Judgement::Pass
            })
            .count();
        short += usize::from(passed < 5);
    }
    assert!(short < 100, "{short} of 1000 sources had less than they may");
}

#[test]
fn forged_sources_are_held_to_the_total_and_a_quarter() {
    let mut run = Run::new(UNLIMITED, 1000);
    for _ in 0..5 {
        run.window += 1;
        let passed = (0..100_000).filter(|number| run.judge(source(*number)) == Judgement::Pass).count();
        assert!((1..=1250).contains(&passed), "{passed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is sent, in whatever windows, also backwards: no panic, and no more than the limits.
    #[test]
    fn no_more_than_the_limits_pass(
        per_source in prop_oneof![1_u32..50, Just(UNLIMITED)],
        total in prop_oneof![1_u32..500, Just(UNLIMITED), Just(u32::MAX)],
        packets in prop::collection::vec((0_u32..20, prop::option::weighted(0.01, any::<u32>())), 0..3000),
    ) {
        let mut run = Run::new(per_source, total);
        let mut passed = std::collections::HashMap::<u32, u32>::new();
        for (number, jump) in packets {
            if let Some(window) = jump {
                run.window = window;
                passed.clear();
            }
            if run.judge(source(number)) == Judgement::Pass {
                *passed.entry(number).or_default() += 1;
            }
            prop_assert!(per_source == UNLIMITED || passed.values().all(|passed| *passed <= per_source));
            let all: u64 = passed.values().map(|passed| u64::from(*passed)).sum();
            prop_assert!(total == UNLIMITED || all <= u64::from(total) + u64::from(total) / 4);
        }
    }

    /// Who stays within an equal share is served, whatever the others do, once the share is found.
    #[test]
    fn an_equal_share_is_always_served(
        greedy in prop::collection::vec(200_u32..3000, 1..6),
        modest in 1_u32..20,
        total in 400_u32..1000,
    ) {
        let everybody = u32::try_from(greedy.len()).unwrap() + modest;
        // A packet or two less: shares are whole packets, and come closer from above.
        let within = (total / everybody).saturating_sub(total / everybody / 8 + 2).max(1);
        let mut sources = polite(modest, within);
        sources.extend(greedy.iter().zip(1000..).map(|(sends, number)| (source(number), *sends)));
        let mut run = Run::new(UNLIMITED, total);
        // Near the share each window brings a fixed part of what is missing.
        run.windows(64, &sources);
        for _ in 0..4 {
            let passed = run.window(&sources);
            for passed in passed.iter().take(modest as usize) {
                prop_assert_eq!(*passed, within, "share {}", run.share.each);
            }
        }
    }
}
