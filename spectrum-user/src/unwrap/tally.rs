//! Who is turned away, told without a line for each: a scanner must not fill the log.

use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long after a line the next one of the same reason comes at the earliest.
const PAUSE: Duration = Duration::from_secs(10);

/// Counts by reason; reasons are words of this program, so there are few.
#[derive(Debug, Default)]
pub(super) struct Tally(RefCell<HashMap<&'static str, Told>>);

#[derive(Debug)]
struct Told {
    last: Instant,
    since: u64,
}

impl Tally {
    pub(super) fn turned_away(&self, reason: &'static str) {
        if let Some(since) = self.count(reason, Instant::now()) {
            let more = if since > 0 { format!(" ({since} more since the last such line)") } else { String::new() };
            log::warn!("a connection is turned away: {reason}{more}");
        }
    }

    /// How many were not told since the last line, if it is time for one.
    fn count(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut tally = self.0.borrow_mut();
        let Some(told) = tally.get_mut(reason) else {
            tally.insert(reason, Told { last: now, since: 0 });
            return Some(0);
        };
        if now.duration_since(told.last) < PAUSE {
            told.since += 1;
            return None;
        }
        told.last = now;
        Some(std::mem::take(&mut told.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_at_once_and_then_now_and_then() {
        let (tally, start) = (Tally::default(), Instant::now());
        assert_eq!(tally.count("a", start), Some(0));
        assert_eq!(tally.count("b", start), Some(0));
        assert_eq!(tally.count("a", start + PAUSE / 2), None);
        assert_eq!(tally.count("a", start + PAUSE), Some(1));
    }
}
