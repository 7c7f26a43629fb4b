//! New connections in TLS per second: connect, shake hands, one small request and its answer, farewell.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};

use crate::load::latency::Latencies;
use crate::load::tls::exchange::Client;
use crate::load::tls::{Key, Version};
use crate::load::{THREADS, churn};
use crate::measure::churn::SLOTS;
use crate::measure::{Better, Figure, MACHINE_CPU, Measure, Sample, Stage, number};
use crate::origin::Service;
use crate::world::client_sources;

pub(super) struct Handshakes {
    pub(super) key: Key,
    pub(super) version: Version,
    /// Every connection but the first of each slot goes on with a session.
    pub(super) resumes: bool,
}

impl Measure for Handshakes {
    fn name(&self) -> String {
        let kind = if self.resumes { "resumed" } else { "handshakes" };
        let key = if self.key == Key::Rsa { "-rsa" } else { "" };
        let version = if self.version == Version::Tls12 { "-1.2" } else { "" };
        format!("{kind}{key}{version}")
    }

    fn title(&self) -> String {
        let version = if self.version == Version::Tls12 { "TLS 1.2" } else { "TLS 1.3" };
        let key = if self.key == Key::Rsa { "RSA-2048" } else { "ECDSA P-256" };
        let at_once = SLOTS * THREADS;
        if self.resumes {
            format!("Sessions that go on by ticket, {version}, {at_once} at once")
        } else {
            format!("Full handshakes, {version}, {key}, {at_once} at once")
        }
    }

    fn run(&self, stage: &Stage<'_>) -> Result<Sample> {
        let sources: Vec<_> = client_sources().collect();
        let to = match self.key {
            Key::Ecdsa => stage.running.at(Service::Echo),
            Key::Rsa => stage.running.at_rsa(),
        };
        let resumed = Arc::new(AtomicUsize::new(0));
        let (results, spent) = stage.generate(THREADS, |thread, clock| {
            let own: Vec<_> = sources.iter().copied().skip(thread).step_by(THREADS).collect();
            let clients = (0..SLOTS)
                .map(|_| Client::new(self.version, self.key, self.resumes, &resumed))
                .collect::<Result<Vec<_>>>()?;
            churn::run(&own, SLOTS, clock, |from, epoll, key| {
                let client = usize::try_from(key).ok().and_then(|slot| clients.get(slot));
                client.ok_or_else(|| std::io::Error::other("no such slot"))?.begin(from, to, epoll, key)
            })
        })?;
        let failures = results.iter().map(|result| result.failures).sum();
        let times = Latencies::merge(results.into_iter().map(|result| result.times));
        // The warm-up's are among them, so this is not exact, and need not be.
        let went_on = resumed.load(Ordering::Relaxed);
        if self.resumes {
            ensure!(went_on * 10 >= times.count() * 9, "only {went_on} of {} sessions went on", times.count());
        } else {
            ensure!(went_on == 0, "{went_on} handshakes were no full ones");
        }
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
