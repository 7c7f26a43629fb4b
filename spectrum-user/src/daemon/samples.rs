//! Sampled verdicts and the programs' own diagnostics, into the log.

use std::io;

use super::View;
use crate::dataplane::{
    events::{self, Sample},
    maps::MapSource,
    pins::Pins,
};

/// The stream of sampled drops; a broken one ends, and nothing else does.
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

    fn broken(&mut self, error: &io::Error) {
        log::error!("sampled drops are no longer read: {error}");
        self.0 = None;
    }
}

/// Passes a sample on to whoever listens.
pub(super) fn tell(sample: Sample, view: &View) {
    view.sampled(sample);
    log::debug!("{}", view.describe(&sample));
}
