//! New connections per second: connect, one small request and its answer, close.

use anyhow::Result;

use super::{Better, Figure, MACHINE_CPU, Measure, Sample, Stage, number};
use crate::load::exchange::Exchange;
use crate::load::latency::Latencies;
use crate::load::{THREADS, churn};
use crate::origin::Service;
use crate::world::client_sources;

/// Connections that are under way at once, per generator thread.
pub(super) const SLOTS: usize = 32;

pub(super) struct Churn;

impl Measure for Churn {
    fn name(&self) -> String {
        "connections".to_owned()
    }

    fn title(&self) -> String {
        format!("New connections, {} at once", SLOTS * THREADS)
    }

    fn run(&self, stage: &Stage<'_>) -> Result<Sample> {
        let sources: Vec<_> = client_sources().collect();
        let to = stage.running.at(Service::Echo);
        let (results, spent) = stage.generate(THREADS, |thread, clock| {
            // Each thread has addresses, and so source ports, of its own.
            let own: Vec<_> = sources.iter().copied().skip(thread).step_by(THREADS).collect();
            churn::run(&own, SLOTS, clock, |from, epoll, key| Exchange::begin(from, to, epoll, key))
        })?;
        let failures = results.iter().map(|result| result.failures).sum();
        let times = Latencies::merge(results.into_iter().map(|result| result.times));
        let count = number(times.count() as u64);
        let figures = vec![
            Figure { name: "rate", unit: "/s", better: Better::More, value: count / spent.seconds },
            Figure { name: "p50", unit: "µs", better: Better::Less, value: times.microseconds(500) },
            Figure { name: "p99", unit: "µs", better: Better::Less, value: times.microseconds(990) },
            Figure { name: MACHINE_CPU, unit: "µs/conn", better: Better::Less, value: spent.busy * 1e6 / count },
            Figure { name: "own CPU", unit: "µs/conn", better: Better::Less, value: spent.contestant * 1e6 / count },
        ];
        Ok(Sample { failures, ..Sample::new(figures, &spent) })
    }
}
