//! Sampled verdicts: from the kernel's ring to everybody who wants them.
//!
//! Nobody is waited for. A reader that is too slow misses some, is told how many, and they are counted.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::broadcast::{self, error::RecvError};

use super::Running;
use crate::dataplane::{
    events::{self, Sample},
    maps::MapSource,
    pins::Pins,
};

/// The kernel's ring; a broken one ends, and nothing else does.
pub(super) struct Samples(Option<events::Samples>);

impl Samples {
    pub(super) fn open(pins: &Pins) -> anyhow::Result<Self> {
        Ok(Self(Some(events::Samples::open(MapSource::Pins(pins))?)))
    }

    pub(super) async fn next(&mut self) -> Sample {
        loop {
            let Some(samples) = &mut self.0 else { return std::future::pending().await };
            match samples.next().await {
                Ok(sample) => return sample,
                Err(error) => self.broken(&error),
            }
        }
    }

    /// A sample that is there already.
    fn try_next(&mut self) -> Option<Sample> {
        self.0.as_mut()?.try_next()
    }

    fn broken(&mut self, error: &io::Error) {
        log::error!("packets are no longer sampled: {error}");
        self.0 = None;
    }
}

impl Running {
    /// Counts a sample and passes it on, and what else is there already, as far as it does not keep the daemon from
    /// other work.
    pub(super) async fn see(&mut self, first: Sample) {
        let Self { samples, auto, protection, view, geo, .. } = self;
        for sample in std::iter::once(first).chain(std::iter::from_fn(|| samples.try_next())).take(AT_ONCE) {
            auto.see(&sample, view, geo);
            protection.see(&sample, view);
            view.samples.pass_on(sample);
            if sample.drops > 0 {
                log::debug!("{}", view.describe(&sample));
            }
        }
        // A ring that is never empty makes nobody wait: without this, neither timers nor sockets of this thread had a turn.
        tokio::task::yield_now().await;
    }
}

/// Samples between two looks at everything else.
const AT_ONCE: usize = 256;
/// Samples that a reader may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Passes samples on to any number of readers.
#[derive(Debug)]
pub(super) struct Feed {
    sender: broadcast::Sender<Sample>,
    passed: AtomicU64,
    lost: Arc<AtomicU64>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { sender: broadcast::channel(BACKLOG).0, passed: AtomicU64::new(0), lost: Arc::default() }
    }
}

impl Feed {
    fn pass_on(&self, sample: Sample) {
        self.passed.fetch_add(1, Relaxed);
        // Nobody may be listening.
        let _ = self.sender.send(sample);
    }

    pub(super) fn subscribe(&self) -> SampleReader {
        SampleReader { receiver: self.sender.subscribe(), missed: 0, lost: Arc::clone(&self.lost) }
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// Every sample from its making on, except for those that it was too slow for.
#[derive(Debug)]
pub struct SampleReader {
    receiver: broadcast::Receiver<Sample>,
    missed: u64,
    lost: Arc<AtomicU64>,
}

impl SampleReader {
    /// Waits for the next sample. None: the daemon ends. Cancel safe.
    pub async fn next(&mut self) -> Option<Sample> {
        loop {
            match self.receiver.recv().await {
                Ok(sample) => return Some(sample),
                Err(RecvError::Lagged(count)) => {
                    self.missed += count;
                    self.lost.fetch_add(count, Relaxed);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// How many samples were missed since this was last asked.
    pub const fn missed(&mut self) -> u64 {
        std::mem::replace(&mut self.missed, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_reader_gets_every_sample_and_a_slow_one_is_told_what_it_missed() {
        let feed = Feed::default();
        let (mut quick, mut slow) = (feed.subscribe(), feed.subscribe());
        let total = 3 * BACKLOG as u64;
        for number in 0..total {
            feed.pass_on(sample(number));
            assert_eq!(quick.next().await.map(|sample| sample.length), u32::try_from(number).ok());
        }
        let first = slow.next().await.unwrap();
        assert_eq!(u64::from(first.length), total - BACKLOG as u64);
        assert_eq!((slow.missed(), slow.missed(), quick.missed()), (total - BACKLOG as u64, 0, 0));
        assert_eq!((feed.passed(), feed.lost()), (total, total - BACKLOG as u64));
        drop(feed);
        while slow.next().await.is_some() {}
    }

    fn sample(number: u64) -> Sample {
        Sample { length: u32::try_from(number).unwrap(), ..Sample::testing() }
    }
}
