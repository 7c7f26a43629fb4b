//! The order of things: every measure goes over all contestants and, in the next round, back again (ABBA), so that
//! what drifts meets everyone alike.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::contestant::Contestant;
use crate::load::pause;
use crate::measure::{Measure, Sample, Stage};
use crate::options::Options;
use crate::origin::Origin;
use crate::world::World;

/// A sample with more of the machine's time stolen by the hypervisor than this says nothing.
pub(crate) const STEAL: f64 = 0.01;
/// The same for time that other programs took. Tick-wise accounting alone shows up to two per cent.
pub(crate) const FOREIGN: f64 = 0.05;
/// How often a disturbed sample is taken again before it is kept, marked.
const RETRIES: usize = 1;

pub(crate) struct Results {
    pub(crate) congestion_control: &'static str,
    pub(crate) versions: BTreeMap<&'static str, String>,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) measures: Vec<MeasureResults>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

pub(crate) struct MeasureResults {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) takes: Vec<Take>,
}

/// One sample of one contestant.
pub(crate) struct Take {
    pub(crate) round: u32,
    pub(crate) contestant: &'static str,
    pub(crate) sample: Sample,
    /// Something else used the machine, and again in every retry.
    pub(crate) disturbed: bool,
}

pub(crate) fn run(
    options: &Options,
    world: &World,
    origin: &Origin,
    contestants: Vec<Contestant>,
    measures: &[Box<dyn Measure>],
) -> Result<Results> {
    let mut results = Results {
        congestion_control: world.congestion_control,
        versions: BTreeMap::new(),
        contestants: Vec::new(),
        measures: Vec::new(),
        failures: Vec::new(),
    };
    for measure in measures {
        results.measures.push(MeasureResults { name: measure.name(), title: measure.title(), takes: Vec::new() });
    }
    for contestant in contestants {
        // What does not run or answer at all is said once, and does not hold up the others.
        match contestant.version().and_then(|version| contestant.start(world).map(|_| version)) {
            Ok(version) => {
                results.versions.insert(contestant.name, version);
                results.contestants.push(contestant);
            }
            Err(error) => results.fail(format!("{error:#}")),
        }
    }
    ensure!(!results.contestants.is_empty(), "no contestant runs: {}", results.failures.join("; "));
    let contestants = results.contestants.clone();
    let mut failures = Vec::new();
    for round in 0..options.rounds {
        for (measure, found) in measures.iter().zip(&mut results.measures) {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, measure.title());
            let mut order: Vec<&Contestant> = contestants.iter().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for contestant in order {
                match take(options, world, origin, contestant, measure.as_ref()) {
                    Ok((sample, disturbed)) => {
                        found.takes.push(Take { round, contestant: contestant.name, sample, disturbed });
                    }
                    Err(error) => {
                        failures.push(format!("{}, {}: {error:#}", contestant.name, measure.name()));
                    }
                }
            }
        }
    }
    for failure in failures {
        results.fail(failure);
    }
    Ok(results)
}

impl Results {
    fn fail(&mut self, failure: String) {
        eprintln!("{failure}");
        self.failures.push(failure);
    }
}

/// A sample, again if something disturbed it; true if something did to the last.
fn take(
    options: &Options,
    world: &World,
    origin: &Origin,
    contestant: &Contestant,
    measure: &dyn Measure,
) -> Result<(Sample, bool)> {
    let mut tries = 0;
    loop {
        let running = contestant.start(world)?;
        let sample = measure.run(&Stage { world, origin, running: &running, spans: options.spans() })?;
        drop(running);
        // The last packets of one contestant are not the next one's work.
        pause(Duration::from_millis(100));
        let disturbed = sample.steal > STEAL || sample.foreign > FOREIGN;
        if !disturbed || tries == RETRIES {
            return Ok((sample, disturbed));
        }
        tries += 1;
    }
}
