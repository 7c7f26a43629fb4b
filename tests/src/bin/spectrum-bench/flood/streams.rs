//! Connections that are open when a flood begins: does what they carry suffer?

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use spectrum_tests::Frame;
use spectrum_tests::frame::{ACK, Fragment, UDP};

use super::defence::Defence;
use super::field::{Field, arrived};
use super::lane::number;
use super::shape::{Shape, Sources};
use super::table::{Bound, Part};
use super::{Findings, Plan, rounds};
use crate::load::paced::{PART, Paced};
use crate::load::pause;
use crate::origin::Service;
use crate::usage::Usage;
use crate::world::POOL_V4;
use crate::xdp::syn;

const STREAMS: usize = 200;
/// 2,500 parts of 16 KiB a second over all streams.
const EVERY: Duration = Duration::from_micros(400);
/// A SYN flood is seen, and the streams are over whatever its first moment did to them.
const SETTLE: Duration = Duration::from_millis(1500);
const NONE: &str = "none: the generator aims at nobody";

pub(super) fn run(plan: &Plan, field: &Field<'_>, program: &Path) -> Result<Part> {
    let floods = floods();
    let mut part = Part {
        name: "streams",
        title: format!("{STREAMS} open connections during floods"),
        note: format!(
            "Half of them send and half receive through Spectrum, {} MB a second together, on the core that the flood does not \
             have. In the first line the generator does the same work and its frames end at a program that drops, on an \
             interface of its own: what the generator takes from the machine is in every line.",
            PART * 1_000_000 / usize::try_from(EVERY.as_micros())? / 1_000_000
        ),
        columns: vec!["throughput (MB/s)", "flood received (1000/s)"],
        takes: Vec::new(),
        targets: Vec::new(),
    };
    // One take is all floods in a row: the connections are the same ones.
    part.takes = rounds(plan, &part.title, &[Defence::Spectrum], |defence| {
        let standing = defence.start(field, program)?;
        let at = |service: Service| SocketAddr::new(standing.at.ip(), service.port());
        let streams = Paced::start(&field.world.client, at(Service::Sink), at(Service::Source), STREAMS, EVERY)?;
        let usage = Usage::now(standing.process_id())?;
        let mut figures = Vec::new();
        for (name, shape) in &floods {
            let aimed = *name != NONE;
            let flood = if aimed { field.flood(shape)? } else { field.flood_the_void(shape)? };
            pause(SETTLE);
            let carried = || field.origin.swallowed() + streams.received();
            let before = (carried(), field.received()?, Instant::now());
            pause(plan.stream_span());
            let seconds = before.2.elapsed().as_secs_f64();
            let bytes = number(carried() - before.0);
            let received = if aimed { number(arrived(before.1, field.received()?)?) } else { 0.0 };
            flood.end()?;
            figures.push(((*name).to_owned(), vec![bytes / seconds / 1e6, received / seconds / 1000.0]));
        }
        let spent = Usage::now(standing.process_id())?.since(usage);
        streams.end()?;
        Ok(Findings { figures, spent })
    })?;
    for (name, _) in floods.iter().filter(|(name, _)| *name != NONE) {
        let found = part.ratio((name, 0), (NONE, 0));
        part.expect(format!("throughput of open connections during: {name}"), Bound::AtLeast(0.9), found);
    }
    Ok(part)
}

fn floods() -> Vec<(&'static str, Shape)> {
    let port = Service::Sink.port();
    let syn = || syn(POOL_V4, port);
    let segment = || Frame { tcp_flags: ACK, acknowledges: 7, tcp_options: Vec::new(), ..syn() };
    let datagram = Frame { protocol: UDP, payload: vec![0; 16], ..segment() };
    let fragment = Frame { fragment: Some(Fragment { offset: 3, more: true }), payload: vec![0; 24], ..syn() };
    let any = |frame| Shape::new(frame, Sources::Any);
    vec![
        (NONE, any(syn())),
        ("SYN flood", any(syn())),
        ("ACK flood", any(segment())),
        ("UDP flood to closed ports", Shape { any_destination_port: true, ..any(datagram) }),
        ("blocked sources", Shape::new(syn(), Sources::Eleven)),
        ("fragments", Shape { any_identification: true, ..any(fragment) }),
    ]
}
