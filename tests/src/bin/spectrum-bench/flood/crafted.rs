//! Floods made to have the program itself as their victim: none may cost much more than the ordinary SYN.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use spectrum_common::Reason;
use spectrum_tests::Frame;
use spectrum_tests::frame::{ACK, Fragment, UDP};

use super::drops;
use super::lane::{Cost, Crowd, Lane, TARGET};
use super::ours::{Ours, PORT};
use super::shape::{Shape, Sources};
use super::table::{Bound, Part};
use super::{Findings, Plan, rounds};
use crate::stats::Random;
use crate::usage::Usage;
use crate::xdp::syn;

const ORDINARY: &str = "SYNs, a source each";
/// How many times an answered SYN the dearest packet may cost.
const BOUND: f64 = 1.5;
/// Connections a second that each source may ask for, where that is limited.
const RATE: u32 = 100;
const RULES: usize = 10_000;

struct Flood {
    name: &'static str,
    shape: Shape,
    /// What may become of its packets.
    reasons: Vec<Reason>,
    /// Every source has its rate.
    rated: bool,
}

pub(super) fn run(plan: &Plan, crowd: &Crowd) -> Result<Part> {
    let mut random = Random(4);
    let rules = drops::prefixes(RULES, &mut random);
    let lane = Lane::new(crowd, 50)?;
    let mut ours = Ours::attach(&lane, &rules)?;
    ours.refuse_orphans()?;
    let rated_lane = Lane::new(crowd, 51)?;
    let rated = Ours::attach_rated(&rated_lane, &rules, RATE)?;
    let floods = floods(drops::inside(&rules, &mut random));
    let mut part = Part {
        name: "crafted",
        title: "Floods against the program itself".to_owned(),
        note: format!(
            "Cost per packet that reached the device, the device's own part included, with {RULES} block rules, SYN cookies \
             for everyone, and segments of no connection refused. No flood may cost more than {BOUND} times the first."
        ),
        columns: Cost::COLUMNS.to_vec(),
        takes: Vec::new(),
        targets: Vec::new(),
    };
    part.takes = rounds(plan, &part.title, &floods, |flood| {
        let before = Usage::now(None)?;
        let (lane, ours) = if flood.rated { (&rated_lane, &rated) } else { (&lane, &ours) };
        let cost = lane
            .cost(crowd, &flood.shape, plan.cost_span(), &|| ours.counted(&flood.reasons))
            .with_context(|| format!("{}; counted so far: {:?}", flood.name, ours.all()))?;
        let figures = vec![(flood.name.to_owned(), cost.figures())];
        Ok(Findings { figures, spent: Usage::now(None)?.since(before) })
    })?;
    for flood in floods.iter().filter(|flood| flood.name != ORDINARY) {
        let found = part.ratio((flood.name, 0), (ORDINARY, 0));
        part.expect(format!("of an ordinary SYN: {}", flood.name), Bound::AtMost(BOUND), found);
    }
    Ok(part)
}

fn floods(blocked: Vec<u32>) -> Vec<Flood> {
    let syn = || syn(TARGET, PORT);
    let segment = || Frame { tcp_flags: ACK, acknowledges: 7, tcp_options: Vec::new(), ..syn() };
    let datagram = || Frame { protocol: UDP, payload: vec![0; 16], ..segment() };
    let fragment = |offset, more| Some(Fragment { offset, more });
    let one = IpAddr::from([37, 1, 2, 3]);
    let any = |frame| Shape::new(frame, Sources::Any);
    let all_ports = |shape| Shape { any_destination_port: true, ..shape };
    let apart = |shape| Shape { any_identification: true, ..shape };
    let answered = || vec![Reason::SynCookie];
    let closed = || vec![Reason::ClosedPort];
    let options = Frame { tcp_options: vec![1; 40], ..syn() };
    let first = Frame { fragment: fragment(0, true), payload: vec![0; 8], ..syn() };
    let later = Frame { fragment: fragment(3, true), payload: vec![0; 24], ..syn() };
    let flood = |name, shape, reasons| Flood { name, shape, reasons, rated: false };
    let rated = |name, shape, reasons| Flood { name, shape, reasons, rated: true };
    vec![
        flood(ORDINARY, any(syn()), answered()),
        flood("SYNs of one source", Shape::new(Frame { source: one, ..syn() }, Sources::One), answered()),
        // No operation, 40 times: the most there is to read.
        flood("SYNs with 40 bytes of options", any(options), answered()),
        rated("SYNs, a source each, with a rate for each", any(syn()), answered()),
        rated(
            "SYNs of one source, over its rate",
            Shape::new(Frame { source: one, ..syn() }, Sources::One),
            vec![Reason::SourceRate, Reason::SynCookie],
        ),
        flood("SYNs to all ports", all_ports(any(syn())), closed()),
        flood("ACKs to the application", any(segment()), vec![Reason::Orphan]),
        flood("ACKs to all ports", all_ports(any(segment())), closed()),
        flood("UDP to all ports", all_ports(any(datagram())), closed()),
        flood("first fragments alone", apart(any(first)), vec![Reason::SynCookie, Reason::Steered]),
        flood("later fragments alone", apart(any(later)), vec![Reason::LaterFragment]),
        flood("SYNs of blocked sources", Shape::new(syn(), Sources::Listed(blocked)), vec![Reason::Blocked]),
    ]
}
