//! What the keeper goes by: the clock, and how long it waits for whom. A test brings its own.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

#[derive(Clone)]
pub struct Pace {
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// What is due is looked for at least so often: a clock may jump, and a machine may sleep.
    pub look: Duration,
    /// Over how long first orders are spread.
    pub spread: Duration,
    /// For one answer of the directory.
    pub answer: Duration,
    /// For the directory to decide: whether a challenge is met, and then the certificate.
    pub decision: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemTime::now),
            look: Duration::from_secs(30),
            spread: Duration::from_secs(3),
            answer: Duration::from_secs(30),
            decision: Duration::from_mins(3),
        }
    }
}

impl Pace {
    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// For a whole order: a dozen answers and two decisions, none of which takes as long as it may.
    pub(super) fn order(&self) -> Duration {
        self.answer * 5 + self.decision * 2
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("look", &self.look).finish_non_exhaustive()
    }
}
