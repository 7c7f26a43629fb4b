//! Clients that connect while a flood of SYNs goes on, each from an address that nobody has seen before.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::defence::Defence;
use super::field::{Field, arrived};
use super::lane::number;
use super::shape::{Shape, Sources};
use super::table::{Bound, Part};
use super::{Findings, Plan, rounds};
use crate::load::fresh::{self, Clients};
use crate::load::pause;
use crate::origin::Service;
use crate::usage::Usage;
use crate::window::{Clock, Spans};
use crate::world::POOL_V4;
use crate::xdp::syn;

/// Between two new clients.
const EVERY: Duration = Duration::from_millis(2);
/// What a controller that looks twice a second may take to see the flood.
const SEEN: Duration = Duration::from_secs(2);

const SUCCESS: usize = 4;
const P99: usize = 1;
const QUIET_P99: usize = 0;

pub(super) fn run(plan: &Plan, field: &Field<'_>, program: &Path) -> Result<Part> {
    let shape = Shape::new(syn(POOL_V4, Service::Echo.port()), Sources::Any);
    let mut part = Part {
        name: "connects",
        title: "Clients that connect under a SYN flood".to_owned(),
        note: format!(
            "{} new clients a second, each from a fresh address: it connects, asks, and is answered within {} seconds, or \
             has failed. A connect's time is the handshake's, and a failure's is that limit. The flood is the most that one \
             core makes and has received; so a dearer defence gets less of it.",
            1000 / EVERY.as_millis(),
            fresh::PATIENCE.as_secs()
        ),
        columns: vec![
            "quiet p99 (µs)",
            "p99 in the flood (µs)",
            "p50 in the flood (µs)",
            "quiet success (%)",
            "success in the flood (%)",
            "flood offered (1000/s)",
            "flood received (1000/s)",
        ],
        takes: Vec::new(),
        targets: Vec::new(),
    };
    part.takes = rounds(plan, &part.title, &Defence::ALL, |defence| {
        let standing = defence.start(field, program)?;
        let usage = Usage::now(standing.process_id())?;
        let ask = || clients(plan, field, standing.at);
        let quiet = ask()?;
        let flood = field.flood(&shape)?;
        pause(SEEN);
        let before = (field.lost()?, field.received()?, std::time::Instant::now());
        let flooded = ask()?;
        let seconds = before.2.elapsed().as_secs_f64();
        let received = number(arrived(before.1, field.received()?)?);
        let offered = received + number(field.lost()? - before.0);
        flood.end()?;
        let spent = Usage::now(standing.process_id())?.since(usage);
        let figures = vec![(
            defence.name().to_owned(),
            vec![
                quiet.times.microseconds(990),
                flooded.times.microseconds(990),
                flooded.times.microseconds(500),
                quiet.success() * 100.0,
                flooded.success() * 100.0,
                offered / seconds / 1000.0,
                received / seconds / 1000.0,
            ],
        )];
        Ok(Findings { figures, spent })
    })?;
    let ours = Defence::Spectrum.name();
    let most = Bound::AtLeast(99.0);
    part.expect("clients that connect under the flood, %", most, part.value(ours, SUCCESS, most));
    part.expect(
        "connect p99 under the flood, of the quiet one",
        Bound::AtMost(3.0),
        part.ratio((ours, P99), (ours, QUIET_P99)),
    );
    Ok(part)
}

fn clients(plan: &Plan, field: &Field<'_>, to: std::net::SocketAddr) -> Result<Clients> {
    let clock = Clock::start(Spans { warm_up: Duration::ZERO, window: plan.connect_span() });
    field.world.client.run(|| fresh::run(to, || field.fresh_client(), EVERY, &clock))
}
