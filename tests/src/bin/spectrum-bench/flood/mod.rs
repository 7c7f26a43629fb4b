//! What the shield must reach: floods of forged frames, and what they cost and harm. Five parts, each a file.
//!
//! Floods are made by the kernel (`BPF_PROG_RUN` with live frames), an XDP program writing each frame, because nothing in
//! userspace makes enough. They run on a core of their own, with their receive path; all else has the other one.

mod answers;
mod connects;
mod cores;
mod crafted;
mod defence;
mod drops;
mod field;
mod generator;
mod lane;
mod ours;
mod report;
mod shape;
mod streams;
mod table;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::load::pause;
use crate::origin::Origin;
use crate::rounds::{FOREIGN, STEAL};
use crate::usage::Spent;
use crate::world::World;
use field::Field;
use lane::Crowd;
pub(crate) use report::Floods;
use table::Take;

/// Names of the parts, in the order they run.
pub(crate) const PARTS: [&str; 5] = ["answers", "drops", "crafted", "connects", "streams"];

/// How long things take.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
}

impl Plan {
    fn cost_span(&self) -> Duration {
        Duration::from_millis(if self.quick { 150 } else { 500 })
    }

    fn connect_span(&self) -> Duration {
        Duration::from_millis(if self.quick { 800 } else { 2500 })
    }

    fn stream_span(&self) -> Duration {
        Duration::from_millis(if self.quick { 500 } else { 2000 })
    }
}

/// Runs the parts of these names; those that take the product's program only where it is given. What a part could not
/// measure is said in its place.
pub(crate) fn run(
    plan: &Plan,
    names: &[&str],
    world: &World,
    origin: &Origin,
    program: Option<&Path>,
) -> Result<Floods> {
    cores::traffic()?;
    let crowd = Crowd::new()?;
    let field = Field::new(world, origin, &crowd)?;
    let program = || program.context("no program of Spectrum is given");
    let mut floods = Floods::default();
    for name in names {
        let part = match *name {
            "answers" => answers::run(plan, &crowd),
            "drops" => drops::run(plan, &crowd),
            "crafted" => crafted::run(plan, &crowd),
            "connects" => program().and_then(|program| connects::run(plan, &field, program)),
            _ => program().and_then(|program| streams::run(plan, &field, program)),
        };
        match part {
            Ok(part) => floods.parts.push(part),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                floods.failures.push(format!("{name}: {error:#}"));
            }
        }
    }
    Ok(floods)
}

/// What a take has found: figures under one or several names, and what was spent meanwhile.
struct Findings {
    figures: Vec<(String, Vec<f64>)>,
    spent: Spent,
}

/// Takes every contestant in every round, back and forth (ABBA).
fn rounds<C>(plan: &Plan, title: &str, contestants: &[C], take: impl Fn(&C) -> Result<Findings>) -> Result<Vec<Take>> {
    let mut takes = Vec::new();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}: {title}", round + 1, plan.rounds);
        let mut order: Vec<&C> = contestants.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for contestant in order {
            let Findings { figures, spent } = take(contestant)?;
            let disturbed = spent.steal > STEAL || spent.foreign > FOREIGN;
            for (contestant, values) in figures {
                takes.push(Take { round, contestant, values, disturbed });
            }
            // The last packets of one contestant are not the next one's work.
            pause(Duration::from_millis(50));
        }
    }
    Ok(takes)
}
