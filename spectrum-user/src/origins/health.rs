//! Whether an origin lives: pure, time is passed in.
//!
//! Dials tell of failures (passive), checks of both (active). Where there are checks only they bring an origin back: a dial
//! that is accepted says nothing of what the check asks for. Where there are none, an origin that was left out gets one
//! connection after a while, and what becomes of that decides.

use std::time::{Duration, Instant};

use super::News;
use crate::model::HealthCheck;

/// How an origin falls and rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Failures one after the other.
    fall: u32,
    /// Checks one after the other; none: a dial brings it back.
    rise: Option<u32>,
}

/// Failed dials, where no check says another number.
const FALL: u32 = 3;
/// How long an origin is left out the first time; twice as long each time that its trial fails.
const REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_mins(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Down,
    Up,
}

/// Whether a connection may begin with an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It has rested: one connection finds out whether it lives.
    Due,
    Up,
    Down,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Failures one after the other, while it is up. Each kind is forgiven by its own successes: an origin that accepts
    /// and says the wrong thing accepts dials all the time.
    dials: u32,
    checks: u32,
    down: Option<Down>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Down {
    /// Checks that succeeded one after the other.
    successes: u32,
    /// When one connection may try it.
    trial: Instant,
    rest: Duration,
    /// One does.
    on_trial: bool,
}

impl Rules {
    pub(super) fn of(check: Option<&HealthCheck>) -> Self {
        Self { fall: check.map_or(FALL, |check| check.fall), rise: check.map(|check| check.rise) }
    }
}

impl Health {
    pub(super) const fn is_up(&self) -> bool {
        self.down.is_none()
    }

    /// Nothing to remember.
    pub(super) const fn is_perfect(&self) -> bool {
        self.down.is_none() && self.dials == 0 && self.checks == 0
    }

    pub(super) fn standing(&self, now: Instant, rules: Rules) -> Standing {
        match &self.down {
            None => Standing::Up,
            Some(down) if rules.rise.is_none() && down.trial <= now => Standing::Due,
            Some(_) => Standing::Down,
        }
    }

    /// A connection tries it: the others wait for what becomes of that.
    pub(super) fn tried(&mut self, now: Instant) {
        if let Some(down) = &mut self.down
            && down.trial <= now
        {
            down.trial = now + down.rest;
            down.on_trial = true;
        }
    }

    pub(super) fn tell(&mut self, news: News<'_>, now: Instant, rules: Rules) -> Option<Change> {
        match (news, &mut self.down) {
            (News::Dialled, None) => self.dials = 0,
            (News::Checked, None) => self.checks = 0,
            (News::DialFailed(_), None) => {
                self.dials += 1;
                return self.falls(self.dials, now, rules);
            }
            (News::CheckFailed(_), None) => {
                self.checks += 1;
                return self.falls(self.checks, now, rules);
            }
            (News::Dialled, Some(_)) if rules.rise.is_none() => return Some(self.rises()),
            (News::Checked, Some(down)) => {
                down.successes += 1;
                return (down.successes >= rules.rise.unwrap_or(1)).then(|| self.rises());
            }
            // Others may fail meanwhile that began before it fell, or because nobody else lives: they say nothing new.
            (News::DialFailed(_), Some(down)) if down.on_trial && rules.rise.is_none() => {
                down.on_trial = false;
                down.rest = (down.rest * 2).min(LONGEST_REST);
                down.trial = now + down.rest;
            }
            (News::CheckFailed(_), Some(down)) => down.successes = 0,
            (News::Dialled | News::DialFailed(_), Some(_)) => {}
        }
        None
    }

    fn falls(&mut self, failures: u32, now: Instant, rules: Rules) -> Option<Change> {
        (failures >= rules.fall).then(|| {
            self.down = Some(Down { successes: 0, trial: now + REST, rest: REST, on_trial: false });
            Change::Down
        })
    }

    fn rises(&mut self) -> Change {
        *self = Self::default();
        Change::Up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSIVE: Rules = Rules { fall: 3, rise: None };
    const ACTIVE: Rules = Rules { fall: 2, rise: Some(2) };
    const FAILED: News<'_> = News::DialFailed("refused");

    fn after(seconds: u64) -> Instant {
        // One beginning for all: differences are what counts.
        static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *BEGIN.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    #[test]
    fn failures_count_only_one_after_the_other() {
        let mut health = Health::default();
        for news in [FAILED, FAILED, News::Dialled, FAILED, FAILED] {
            assert_eq!(health.tell(news, after(0), PASSIVE), None);
        }
        assert!(health.is_up());
        assert_eq!(health.tell(FAILED, after(0), PASSIVE), Some(Change::Down));
    }

    #[test]
    fn one_connection_tries_an_origin_that_rested() {
        let mut health = Health::default();
        for _ in 0..3 {
            health.tell(FAILED, after(0), PASSIVE);
        }
        assert_eq!(health.standing(after(9), PASSIVE), Standing::Down);
        assert_eq!(health.standing(after(10), PASSIVE), Standing::Due);
        health.tried(after(10));
        assert_eq!(health.standing(after(10), PASSIVE), Standing::Down, "the others wait for what becomes of it");
        assert_eq!(health.tell(FAILED, after(11), PASSIVE), None);
        assert_eq!(health.standing(after(30), PASSIVE), Standing::Down, "it rests twice as long");
        assert_eq!(health.standing(after(31), PASSIVE), Standing::Due);
        assert_eq!(health.tell(News::Dialled, after(31), PASSIVE), Some(Change::Up));
        assert!(health.is_perfect());
    }

    fn fallen() -> Health {
        let mut health = Health::default();
        for _ in 0..3 {
            health.tell(FAILED, after(0), PASSIVE);
        }
        health
    }

    #[test]
    fn a_rest_has_a_longest_length() {
        let mut health = fallen();
        let mut now = 0;
        for rest in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(health.standing(after(now + rest - 1), PASSIVE), Standing::Down);
            now += rest;
            assert_eq!(health.standing(after(now), PASSIVE), Standing::Due, "after {rest} s");
            health.tried(after(now));
            health.tell(FAILED, after(now), PASSIVE);
        }
    }

    #[test]
    fn dials_that_were_under_way_when_it_fell_make_its_rest_no_longer() {
        let mut health = fallen();
        for _ in 0..100 {
            // Nobody else lives either, so connections try it all the same.
            health.tried(after(1));
            health.tell(FAILED, after(1), PASSIVE);
        }
        assert_eq!(health.standing(after(10), PASSIVE), Standing::Due);
    }

    #[test]
    fn dials_that_are_accepted_do_not_forgive_failed_checks() {
        let mut health = Health::default();
        assert_eq!(health.tell(News::CheckFailed("in recovery"), after(0), ACTIVE), None);
        assert_eq!(health.tell(News::Dialled, after(1), ACTIVE), None);
        assert_eq!(health.tell(News::CheckFailed("in recovery"), after(2), ACTIVE), Some(Change::Down));
        let mut health = Health::default();
        assert_eq!(health.tell(FAILED, after(0), ACTIVE), None);
        assert_eq!(health.tell(News::Checked, after(1), ACTIVE), None, "of another port perhaps");
        assert_eq!(health.tell(FAILED, after(2), ACTIVE), Some(Change::Down));
    }

    #[test]
    fn where_there_are_checks_only_they_bring_it_back() {
        let mut health = Health::default();
        assert_eq!(health.tell(FAILED, after(0), ACTIVE), None);
        assert_eq!(health.tell(FAILED, after(0), ACTIVE), Some(Change::Down), "dials count, too");
        assert_eq!(health.standing(after(3600), ACTIVE), Standing::Down);
        assert_eq!(health.tell(News::Dialled, after(1), ACTIVE), None);
        for (news, change) in [
            (News::Checked, None),
            (News::CheckFailed(""), None),
            (News::Checked, None),
            (News::Checked, Some(Change::Up)),
        ] {
            assert_eq!(health.tell(news, after(2), ACTIVE), change);
        }
    }
}
