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
const RULES: usize = 10_000;

struct Flood {
    name: &'static str,
    shape: Shape,
    /// What may become of its packets.
    reasons: Vec<Reason>,
}

pub(super) fn run(plan: &Plan, crowd: &Crowd) -> Result<Part> {
    let mut random = Random(4);
    let rules = drops::prefixes(RULES, &mut random);
    let lane = Lane::new(crowd, 50)?;
    let mut ours = Ours::attach(&lane, &rules)?;
    ours.refuse_orphans()?;
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
    vec![
        Flood { name: ORDINARY, shape: any(syn()), reasons: answered() },
        Flood {
            name: "SYNs of one source",
            shape: Shape::new(Frame { source: one, ..syn() }, Sources::One),
            reasons: answered(),
        },
        Flood {
            name: "SYNs with 40 bytes of options",
            // No operation, 40 times: the most there is to read.
            shape: any(Frame { tcp_options: vec![1; 40], ..syn() }),
            reasons: answered(),
        },
        Flood { name: "SYNs to all ports", shape: all_ports(any(syn())), reasons: closed() },
        Flood { name: "ACKs to the application", shape: any(segment()), reasons: vec![Reason::Orphan] },
        Flood { name: "ACKs to all ports", shape: all_ports(any(segment())), reasons: closed() },
        Flood { name: "UDP to all ports", shape: all_ports(any(datagram())), reasons: closed() },
        Flood {
            name: "first fragments alone",
            shape: apart(any(Frame { fragment: fragment(0, true), payload: vec![0; 8], ..syn() })),
            reasons: vec![Reason::SynCookie, Reason::Steered],
        },
        Flood {
            name: "later fragments alone",
            shape: apart(any(Frame { fragment: fragment(3, true), payload: vec![0; 24], ..syn() })),
            reasons: vec![Reason::LaterFragment],
        },
        Flood {
            name: "SYNs of blocked sources",
            shape: Shape::new(syn(), Sources::Listed(blocked)),
            reasons: vec![Reason::Blocked],
        },
    ]
}
