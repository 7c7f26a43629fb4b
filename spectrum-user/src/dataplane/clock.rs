//! The clock that kernel programs stamp samples with, `bpf_ktime_get_ns`: `CLOCK_MONOTONIC` as the host has it, whatever
//! time namespace this process is in (`man 7 time_namespaces`).

use std::{
    fs,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of that clock.
pub(super) fn now_ns() -> u64 {
    // It cannot fail for this clock (clock_gettime(2)); with 0 nothing is too old.
    let here = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| Duration::from(now).as_nanos());
    let host = i128::try_from(here).unwrap_or(i128::MAX).saturating_sub(*AHEAD_NS);
    u64::try_from(host).unwrap_or_default()
}

/// When that was by the clock on the wall, as it goes now.
pub(super) fn wall(at_ns: u64) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(Duration::from_nanos(now_ns().saturating_sub(at_ns))).unwrap_or(now)
}

/// How far this process's clock is ahead of the host's: 0 but in a time namespace of its own.
static AHEAD_NS: LazyLock<i128> =
    LazyLock::new(|| fs::read_to_string("/proc/self/timens_offsets").ok().and_then(|text| ahead(&text)).unwrap_or(0));

/// A line for each clock: its name, seconds, nanoseconds (`proc_timens_show_offsets`, kernel/time/namespace.c).
fn ahead(offsets: &str) -> Option<i128> {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    let mut numbers = line.split_whitespace().map(str::parse::<i128>);
    let (seconds, nanoseconds) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(seconds * 1_000_000_000 + nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_monotonic_clock_is_the_one_that_counts() {
        let text = "monotonic     1000000         5\nboottime            7         0\n";
        assert_eq!(ahead(text), Some(1_000_000_000_000_005));
        assert_eq!(ahead("monotonic         -20 500000000\n"), Some(-19_500_000_000));
        assert_eq!((ahead(""), ahead("monotonic x y")), (None, None));
    }

    #[test]
    fn now_is_now_and_a_second_ago_was_a_second_ago() {
        let ago = wall(now_ns() - 1_000_000_000).elapsed().unwrap();
        assert!(ago >= Duration::from_secs(1) && ago < Duration::from_secs(2), "{ago:?}");
    }
}
