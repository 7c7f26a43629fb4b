//! Small requests on connections that stay open: as fast as answers come, and at a rate every contestant can hold.

use std::time::Duration;

use anyhow::Result;

use super::{Better, Figure, MACHINE_CPU, Measure, Sample, Stage, number};
use crate::load::latency::Latencies;
use crate::load::requests::{self, Pace};
use crate::load::{MESSAGE, THREADS};
use crate::origin::Service;

/// Open connections, over all generator threads.
const CONNECTIONS: usize = 64;

#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    Closed,
    /// Requests per second over all connections.
    Rate(u32),
}

pub(super) struct Requests {
    pub(super) load: Load,
}

impl Measure for Requests {
    fn name(&self) -> String {
        match self.load {
            Load::Closed => "requests".to_owned(),
            Load::Rate(rate) => format!("requests-{rate}"),
        }
    }

    fn title(&self) -> String {
        match self.load {
            Load::Closed => format!("Requests of {MESSAGE} bytes, {CONNECTIONS} connections, as fast as answered"),
            Load::Rate(rate) => format!("Requests of {MESSAGE} bytes, {CONNECTIONS} connections, {rate} per second"),
        }
    }

    fn run(&self, stage: &Stage<'_>) -> Result<Sample> {
        let to = stage.running.at(Service::Echo);
        let (threads, pace) = match self.load {
            Load::Closed => (THREADS, Pace::Closed),
            Load::Rate(rate) => (1, Pace::Every(Duration::from_secs(1) / rate)),
        };
        let (results, spent) =
            stage.generate(threads, |_, clock| requests::run(to, CONNECTIONS / threads, pace, clock))?;
        let times = Latencies::merge(results);
        let count = number(times.count() as u64);
        let rate = Figure { name: "rate", unit: "/s", better: Better::More, value: count / spent.seconds };
        let mut figures = vec![
            Figure { name: "p50", unit: "µs", better: Better::Less, value: times.microseconds(500) },
            Figure { name: "p99", unit: "µs", better: Better::Less, value: times.microseconds(990) },
            Figure { name: MACHINE_CPU, unit: "µs/req", better: Better::Less, value: spent.busy * 1e6 / count },
            Figure { name: "own CPU", unit: "µs/req", better: Better::Less, value: spent.contestant * 1e6 / count },
        ];
        match self.load {
            Load::Closed => figures.insert(0, rate),
            // Given, not found: only whether it was held is worth a look.
            Load::Rate(_) => figures.push(Figure { better: Better::Neither, ..rate }),
        }
        Ok(Sample::new(figures, &spent))
    }
}
