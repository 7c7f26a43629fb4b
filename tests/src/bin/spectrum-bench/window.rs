//! A warm-up and the measured window behind it, shared by the threads of a generator.

use std::time::{Duration, Instant};

/// When a measure warms up and when it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    from: Instant,
    until: Instant,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start(spans: Spans) -> Self {
        let from = Instant::now() + spans.warm_up;
        Self { from, until: from + spans.window }
    }

    /// Whether something that ended at `now` counts.
    pub(crate) fn counts(&self, now: Instant) -> bool {
        now >= self.from && now < self.until
    }

    pub(crate) fn over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Time left until the window opens.
    pub(crate) fn until_open(&self) -> Duration {
        self.from.saturating_duration_since(Instant::now())
    }

    /// Time left until the window closes.
    pub(crate) fn until_close(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// How long a measure takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}
