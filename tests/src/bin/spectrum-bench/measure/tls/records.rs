//! What size the records are that a client gets: small ones are of use as soon as their segment is there, large ones cost
//! less.

use anyhow::{Context as _, Result};

use crate::load::tls::{Key, records};
use crate::measure::{Better, Figure, Measure, Sample, Stage, number};
use crate::origin::Service;
use crate::usage::Usage;

/// What a client reads in all.
const BYTES: usize = 32 << 20;
/// A record that fits into a segment has no more.
const SEGMENT: usize = 1460;
/// Records that the last size is a mean of.
const LAST: usize = 500;

pub(super) struct Records;

impl Measure for Records {
    fn name(&self) -> String {
        "records".to_owned()
    }

    fn title(&self) -> String {
        format!("Records of a download of {} MiB", BYTES >> 20)
    }

    fn run(&self, stage: &Stage<'_>) -> Result<Sample> {
        let process = stage.running.process_id();
        let before = Usage::now(process)?;
        let from = stage.running.at(Service::Source);
        let sizes = stage.world.client.run(|| records::receive(from, Key::Ecdsa, BYTES))?;
        let spent = Usage::now(process)?.since(before);
        let first = *sizes.first().context("no record came")?;
        let small: usize = sizes.iter().take_while(|size| **size <= SEGMENT).sum();
        let last = sizes.get(sizes.len().saturating_sub(LAST)..).unwrap_or_default();
        let mean = number(last.iter().sum::<usize>() as u64) / number(last.len() as u64);
        let figure = |name, value| Figure { name, unit: "bytes", better: Better::Neither, value };
        let figures = vec![
            figure("first record", number(first as u64)),
            figure("until one is larger than a segment", number(small as u64)),
            figure("mean of the last 500", mean),
        ];
        Ok(Sample::new(figures, &spent))
    }
}
