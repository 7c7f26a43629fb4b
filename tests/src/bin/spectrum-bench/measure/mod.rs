//! What is measured: one file per measure. A measure runs its load against one contestant and names its figures.

mod bulk;
mod churn;
mod idle;
mod requests;
pub(crate) mod tls;

use std::thread;

use anyhow::{Result, anyhow};

use crate::contestant::Running;
use crate::load::pause;
use crate::origin::Origin;
use crate::usage::{Spent, Usage};
use crate::window::{Clock, Spans};
use crate::world::World;

/// All measures, in the order of the report.
pub(crate) fn all() -> Vec<Box<dyn Measure>> {
    use bulk::Direction::{Download, Upload};
    use requests::Load::{Closed, Rate};
    let mut all: Vec<Box<dyn Measure>> = Vec::new();
    for (direction, streams) in [(Download, 1), (Download, 8), (Upload, 1), (Upload, 8)] {
        all.push(Box::new(bulk::Bulk { direction, streams }));
    }
    all.push(Box::new(churn::Churn));
    all.push(Box::new(requests::Requests { load: Closed }));
    all.push(Box::new(requests::Requests { load: Rate(10_000) }));
    all.push(Box::new(idle::Idle { connections: 5000 }));
    all
}

pub(crate) trait Measure {
    /// Short name, for `--measures`.
    fn name(&self) -> String;
    /// A sentence for the report.
    fn title(&self) -> String;
    fn run(&self, stage: &Stage<'_>) -> Result<Sample>;
}

/// Everything a measure needs.
pub(crate) struct Stage<'a> {
    pub(crate) world: &'a World,
    pub(crate) origin: &'a Origin,
    pub(crate) running: &'a Running,
    pub(crate) spans: Spans,
}

/// Name of the figure for what the whole machine spent.
pub(crate) const MACHINE_CPU: &str = "machine CPU";

/// One number of a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
    /// Shown because it explains the others; nobody wins by it.
    Neither,
}

/// What one run of a measure found.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) figures: Vec<Figure>,
    /// See [`Spent::steal`] and [`Spent::foreign`].
    pub(crate) steal: f64,
    pub(crate) foreign: f64,
    /// Operations that failed.
    pub(crate) failures: usize,
}

impl Sample {
    /// The value of the figure of that name.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    fn new(figures: Vec<Figure>, spent: &Spent) -> Self {
        Self { figures, steal: spent.steal, foreign: spent.foreign, failures: 0 }
    }
}

impl Stage<'_> {
    /// Runs `generator` on `threads` threads inside the client's namespace and says what was spent in the window.
    fn generate<R: Send>(
        &self,
        threads: usize,
        generator: impl Fn(usize, &Clock) -> Result<R> + Sync,
    ) -> Result<(Vec<R>, Spent)> {
        let clock = Clock::start(self.spans);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|number| {
                    let generator = &generator;
                    scope.spawn(move || self.world.client.enter().and_then(|()| generator(number, &clock)))
                })
                .collect();
            let spent = self.spent_in(&clock)?;
            let results = workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| anyhow!("a generator panicked"))?)
                .collect::<Result<_>>()?;
            Ok((results, spent))
        })
    }

    /// Waits for the window to open and to close, and says what was spent between.
    fn spent_in(&self, clock: &Clock) -> Result<Spent> {
        pause(clock.until_open());
        let before = Usage::now(self.running.process_id())?;
        pause(clock.until_close());
        Ok(Usage::now(self.running.process_id())?.since(before))
    }
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}
