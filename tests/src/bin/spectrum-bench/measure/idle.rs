//! Memory per connection that is open and does nothing.

use std::time::Duration;

use anyhow::Result;

use super::{Better, Figure, Measure, Sample, Stage, number};
use crate::load::{idle, pause};
use crate::origin::Service;
use crate::usage::{self, Usage};

/// Buffers that were needed to open connections may go back to where they came from first.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) struct Idle {
    pub(super) connections: usize,
}

impl Measure for Idle {
    fn name(&self) -> String {
        "idle".to_owned()
    }

    fn title(&self) -> String {
        format!("Memory per idle connection, {} open", self.connections)
    }

    fn run(&self, stage: &Stage<'_>) -> Result<Sample> {
        let process = stage.running.process_id();
        let resident = || process.map_or(Ok(0.0), usage::resident);
        let before = (Usage::now(process)?, resident()?, usage::slab()?);
        let open = || stage.running.open(Service::Echo);
        let open = stage.world.client.run(|| idle::open(self.connections, open))?;
        pause(SETTLE);
        let after = (Usage::now(process)?, resident()?, usage::slab()?);
        let per_connection = |bytes: f64| bytes / 1024.0 / number(open.len() as u64);
        let figures = vec![
            Figure { name: "own memory", unit: "KiB", better: Better::Less, value: per_connection(after.1 - before.1) },
            // Includes the sockets of client and origin: what direct forwarding shows is their part.
            Figure {
                name: "machine's kernel memory",
                unit: "KiB",
                better: Better::Less,
                value: per_connection(after.2 - before.2),
            },
        ];
        Ok(Sample::new(figures, &after.0.since(before.0)))
    }
}
