//! Waiting for something that another process does: by polling, with a deadline, never by a blind pause.

use std::time::{Duration, Instant};

/// Long enough for two cores that also run the rest of the tests; nothing that works ever waits this long.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Between the first polls. Each that is in vain makes the next pause longer, up to [`SELDOM`]: most polls start a program,
/// which competes with what they wait for.
const OFTEN: Duration = Duration::from_millis(10);
const SELDOM: Duration = Duration::from_millis(100);

/// Asks `attempt` until it answers, and panics with `what` once [`DEADLINE`] has passed.
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, attempt).unwrap_or_else(|| panic!("{what}: still not so after {DEADLINE:?}"))
}

/// Asks `attempt` until it answers or `limit` has passed.
pub fn within<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut between = OFTEN;
    loop {
        if let Some(answer) = attempt() {
            return Some(answer);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        pause(between.min(left));
        between = (between * 3 / 2).min(SELDOM);
    }
}

/// A pause between two polls, or one that a test is about: for instance CPU time while nothing should happen.
#[expect(clippy::disallowed_methods, reason = "the one place that pauses: between polls, under a deadline")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
