//! Bulk throughput, and what it costs.

use anyhow::{Result, bail};

use super::{Better, Figure, MACHINE_CPU, Measure, Sample, Stage, number};
use crate::load::bulk::Streams;
use crate::load::pause;
use crate::origin::Service;
use crate::usage::Usage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Download,
    Upload,
}

pub(super) struct Bulk {
    pub(super) direction: Direction,
    pub(super) streams: usize,
}

impl Measure for Bulk {
    fn name(&self) -> String {
        match self.direction {
            Direction::Download => format!("download-{}", self.streams),
            Direction::Upload => format!("upload-{}", self.streams),
        }
    }

    fn title(&self) -> String {
        let streams = if self.streams == 1 { "stream" } else { "streams" };
        match self.direction {
            Direction::Download => format!("Download, {} {streams}", self.streams),
            Direction::Upload => format!("Upload, {} {streams}", self.streams),
        }
    }

    fn run(&self, stage: &Stage<'_>) -> Result<Sample> {
        let (client, running) = (&stage.world.client, stage.running);
        let streams = match self.direction {
            Direction::Download => Streams::download(client, self.streams, || running.open(Service::Source)),
            Direction::Upload => Streams::upload(client, self.streams, || running.open(Service::Sink)),
        }?;
        let arrived = || match self.direction {
            Direction::Download => streams.received(),
            Direction::Upload => stage.origin.swallowed(),
        };
        pause(stage.spans.warm_up);
        let resent_before = stage.world.retransmits()?;
        let (before, bytes_before) = (Usage::now(stage.running.process_id())?, arrived());
        pause(stage.spans.window);
        let (after, bytes_after) = (Usage::now(stage.running.process_id())?, arrived());
        let resent = stage.world.retransmits()?.saturating_sub(resent_before);
        if streams.alive() < self.streams {
            bail!("{} of {} streams broke", self.streams - streams.alive(), self.streams);
        }
        let spent = after.since(before);
        let gigabytes = number(bytes_after.saturating_sub(bytes_before)) / 1e9;
        let figures = vec![
            Figure { name: "rate", unit: "Gbit/s", better: Better::More, value: gigabytes * 8.0 / spent.seconds },
            Figure { name: MACHINE_CPU, unit: "s/GB", better: Better::Less, value: spent.busy / gigabytes },
            Figure { name: "own CPU", unit: "s/GB", better: Better::Less, value: spent.contestant / gigabytes },
            Figure { name: "resent", unit: "segments/GB", better: Better::Neither, value: number(resent) / gigabytes },
        ];
        Ok(Sample::new(figures, &spent))
    }
}
