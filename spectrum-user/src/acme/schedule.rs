//! When what is due: pure, for any clock.

use std::time::{Duration, SystemTime};

use super::files::Life;

/// Between tries that failed, one after the other.
const SHORTEST: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_hours(12);
/// A directory may want to be left alone for longer, but not for ever.
const LEFT_ALONE: Duration = Duration::from_hours(7 * 24);

/// How long after so many failures in a row, which count from 1. `luck`: from 0 to 1, so that not all come at once.
pub(super) fn again_after(failures: u32, leave_alone: Option<Duration>, luck: f64) -> Duration {
    let doubled = SHORTEST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    let ours = doubled.mul_f64(0.75 + luck.clamp(0.0, 1.0) / 2.0).clamp(SHORTEST, LONGEST);
    let wanted = leave_alone.unwrap_or_default().min(LEFT_ALONE);
    if wanted > ours {
        // Later than asked for, never sooner.
        return wanted + SHORTEST.mul_f64(luck.clamp(0.0, 1.0));
    }
    ours
}

/// Whether a wait that was written down can be meant: else the clock was wrong then, or is now.
pub(super) fn believed(until: SystemTime, now: SystemTime) -> bool {
    until.duration_since(now).is_ok_and(|wait| wait <= LEFT_ALONE + LONGEST)
}

/// After two thirds of its life, a little sooner by luck. `obtained`: a directory whose clock is wrong is not asked again
/// and again.
pub(super) fn renew_at(life: Life, obtained: Option<SystemTime>, luck: f64) -> SystemTime {
    let length = life.length();
    let part = 2.0 / 3.0 - luck.clamp(0.0, 1.0) / 20.0;
    let due = life.not_before + length.mul_f64(part);
    obtained.map_or(due, |obtained| due.max(obtained + length / 3))
}

/// Why there can be no certificate for this name by the challenges of this program.
pub fn impossible(host: &str) -> Option<&'static str> {
    if host.starts_with("*.") {
        return Some(
            "a wildcard name can only be shown to be ours by DNS, which is not done here: give its certificate by files",
        );
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Some("it is an address and not a name: give its certificate by files");
    }
    let is_label = |label: &str| {
        let ends = !label.starts_with('-') && !label.ends_with('-');
        let letters = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (1..=63).contains(&label.len()) && ends && letters
    };
    (host.len() > 253 || !host.split('.').all(is_label)).then_some("it is no hostname that a directory would accept")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn failures_are_followed_by_longer_and_longer_waits() {
        let minutes: Vec<u64> =
            [1, 2, 3, 4, 10, 11, 12, u32::MAX].map(|n| again_after(n, None, 0.5).as_secs() / 60).to_vec();
        assert_eq!(minutes, [1, 2, 4, 8, 512, 720, 720, 720]);
    }

    #[test]
    fn a_directory_is_left_alone_as_long_as_it_wants() {
        let hour = Duration::from_hours(1);
        assert!(again_after(1, Some(hour), 0.0) >= hour);
        assert!(again_after(1, Some(Duration::ZERO), 0.0) >= SHORTEST);
        assert!(again_after(1, Some(Duration::MAX), 1.0) <= LEFT_ALONE + SHORTEST);
        assert!(again_after(20, Some(hour), 0.5) >= LONGEST, "and longer, if it fails all the time");
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let days = |days: u64| Duration::from_hours(days * 24);
        let life = Life { not_before: UNIX_EPOCH, not_after: UNIX_EPOCH + days(90) };
        assert_eq!(renew_at(life, None, 0.0), UNIX_EPOCH + days(60));
        assert!(renew_at(life, None, 1.0) > UNIX_EPOCH + days(55));
        let obtained = UNIX_EPOCH + days(80);
        assert_eq!(renew_at(life, Some(obtained), 0.0), obtained + days(30), "not at once, however old it says it is");
    }

    #[test]
    fn a_wait_of_a_wrong_clock_is_none() {
        let now = UNIX_EPOCH + Duration::from_hours(1);
        assert!(believed(now + LEFT_ALONE, now));
        assert!(!believed(now + LEFT_ALONE * 2, now));
        assert!(!believed(UNIX_EPOCH, now));
    }

    #[test]
    fn not_every_name_can_have_one() {
        for good in ["a.example", "xn--bcher-kva.example", "localhost", "1.a"] {
            assert_eq!(impossible(good), None, "{good}");
        }
        assert!(impossible("*.a.example").unwrap().contains("wildcard"));
        for bad in
            ["", ".", "..", "a..b", "../x", "a/b", "-a.b", "a-.b", "A.b", "ä.b", "192.0.2.1", "2001:db8::1", "a*.b"]
        {
            assert!(impossible(bad).is_some(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_short(failures: u32, seconds: Option<u64>, luck: f64) {
            assert!(again_after(failures, seconds.map(Duration::from_secs), luck) >= SHORTEST);
        }
    }
}
