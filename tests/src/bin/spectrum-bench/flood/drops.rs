//! What it costs to drop a packet of a blocked source: in XDP, at nftables' two earliest hooks, and by a program that
//! drops everything.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use spectrum_common::Reason;

use super::lane::{Cost, Crowd, DEVICE, Lane, TARGET, delivered, nft, received};
use super::ours::{Ours, PORT};
use super::shape::{LISTED, Shape, Sources};
use super::table::{Bound, Part};
use super::{Findings, Plan, rounds};
use crate::bpf::{self, XDP_DROP, XDP_PASS};
use crate::contestant::direct::EmptyXdp;
use crate::stats::Random;
use crate::usage::Usage;
use crate::xdp::syn;

pub(super) const DROP_ONLY: &str = "drop-only XDP";
const READ_AND_DROP: &str = "XDP that reads the addresses and drops";
/// How many prefixes are loaded; the last is nearly what the rule maps hold.
const SIZES: [usize; 3] = [1, 10_000, 1_000_000];
/// Lengths that block lists are made of.
const LENGTHS: std::ops::RangeInclusive<u32> = 22..=32;

enum By {
    Spectrum(Box<Ours>),
    Raw,
    Ingress,
    DropOnly,
}

/// Sets a lane up to drop what comes from these prefixes.
type Defend = fn(&Lane, &[(Ipv4Addr, u32)]) -> Result<By>;

struct Contestant {
    name: String,
    lane: Lane,
    by: By,
    /// Floods by the number of prefixes that they come from.
    shapes: Vec<(String, Shape)>,
    _xdp: Option<EmptyXdp>,
}

pub(super) fn run(plan: &Plan, crowd: &Crowd) -> Result<Part> {
    let mut random = Random(3);
    let mut contestants = Vec::new();
    let mut all = Vec::new();
    for (size, number) in SIZES.into_iter().zip((10..).step_by(3)) {
        let prefixes = prefixes(size, &mut random);
        let shape = Shape::new(syn(TARGET, PORT), Sources::Listed(inside(&prefixes, &mut random)));
        all.push((format!("{DROP_ONLY}, sources of {size}"), shape.clone()));
        let bys: [(&str, Defend); 3] =
            [("spectrum", spectrum), ("nft netdev ingress", ingress), ("nft raw prerouting", raw)];
        for (number, (name, defend)) in (number..).zip(bys) {
            eprintln!("{name}: {size} prefixes");
            let lane = Lane::new(crowd, number)?;
            let by = defend(&lane, &prefixes).with_context(|| format!("set up {name} with {size} prefixes"))?;
            let xdp = match by {
                By::Spectrum(_) => None,
                _ => Some(EmptyXdp::attach_to(&lane.namespace, DEVICE, XDP_PASS)?),
            };
            let name = format!("{name}, {size}");
            contestants.push(Contestant { shapes: vec![(name.clone(), shape.clone())], name, lane, by, _xdp: xdp });
        }
    }
    let lane = Lane::new(crowd, 20)?;
    let xdp = Some(EmptyXdp::attach_program(&lane.namespace, DEVICE, &bpf::load_reader()?)?);
    let shapes = all.iter().map(|(name, shape)| (name.replace(DROP_ONLY, READ_AND_DROP), shape.clone())).collect();
    contestants.push(Contestant { name: READ_AND_DROP.to_owned(), lane, by: By::DropOnly, shapes, _xdp: xdp });
    let lane = Lane::new(crowd, 19)?;
    let xdp = Some(EmptyXdp::attach_to(&lane.namespace, DEVICE, XDP_DROP)?);
    contestants.push(Contestant { name: DROP_ONLY.to_owned(), lane, by: By::DropOnly, shapes: all, _xdp: xdp });

    let mut part = Part {
        name: "drops",
        title: "A packet of a blocked source, by prefixes loaded".to_owned(),
        note: format!(
            "Cost per packet that reached the device, the device's own part included. {LISTED} sources, each anywhere in one \
             of the prefixes. The drop-only program drops whatever comes."
        ),
        columns: Cost::COLUMNS.to_vec(),
        takes: Vec::new(),
        targets: Vec::new(),
    };
    part.takes = rounds(plan, &part.title, &contestants, |contestant| {
        let before = Usage::now(None)?;
        let mut figures = Vec::new();
        for (name, shape) in &contestant.shapes {
            let cost = contestant.lane.cost(crowd, shape, plan.cost_span(), &|| contestant.dropped());
            let cost = cost.with_context(|| contestant.name.clone())?;
            figures.push((name.clone(), cost.figures()));
        }
        Ok(Findings { figures, spent: Usage::now(None)?.since(before) })
    })?;
    for size in SIZES {
        let ours = format!("spectrum, {size}");
        let raw = part.ratio((&format!("nft raw prerouting, {size}"), 0), (&ours, 0));
        part.expect(format!("dropping is cheaper than nft raw, {size} prefixes: times"), Bound::AtLeast(5.0), raw);
        let ingress = part.ratio((&format!("nft netdev ingress, {size}"), 0), (&ours, 0));
        part.expect(
            format!("dropping is cheaper than nft ingress, {size} prefixes: times"),
            Bound::AtLeast(1.0),
            ingress,
        );
        let least = part.ratio((&ours, 0), (&format!("{DROP_ONLY}, sources of {size}"), 0));
        part.expect(format!("of a program that only drops, {size} prefixes"), Bound::AtMost(1.3), least);
    }
    Ok(part)
}

impl Contestant {
    /// Packets that it has dropped so far.
    fn dropped(&self) -> Result<u64> {
        let namespace = &self.lane.namespace;
        match &self.by {
            By::Spectrum(ours) => ours.counted(&[Reason::Blocked]),
            // What nftables lets pass is delivered: the address is the lane's own.
            By::Raw | By::Ingress => Ok(received(namespace, DEVICE)?.saturating_sub(delivered(namespace)?)),
            By::DropOnly => received(namespace, DEVICE),
        }
    }
}

fn spectrum(lane: &Lane, prefixes: &[(Ipv4Addr, u32)]) -> Result<By> {
    Ok(By::Spectrum(Box::new(Ours::attach(lane, prefixes)?)))
}

fn raw(lane: &Lane, prefixes: &[(Ipv4Addr, u32)]) -> Result<By> {
    let hook = "chain c { type filter hook prerouting priority raw; ip saddr @blocked drop; }";
    nft(&lane.namespace, &format!("table ip bench {{\n{}\n{hook}\n}}\n", set(prefixes)))?;
    Ok(By::Raw)
}

fn ingress(lane: &Lane, prefixes: &[(Ipv4Addr, u32)]) -> Result<By> {
    let hook =
        format!("chain c {{ type filter hook ingress device \"{DEVICE}\" priority -500; ip saddr @blocked drop; }}");
    nft(&lane.namespace, &format!("table netdev bench {{\n{}\n{hook}\n}}\n", set(prefixes)))?;
    Ok(By::Ingress)
}

fn set(prefixes: &[(Ipv4Addr, u32)]) -> String {
    let mut set = "set blocked { type ipv4_addr; flags interval; elements = {".to_owned();
    for (address, bits) in prefixes {
        // Writing to a String cannot fail.
        let _ = write!(set, "{address}/{bits},");
    }
    set.push_str("}; }");
    set
}

/// Prefixes of 64.0.0.0/3, of which no other flood claims to be, none within another: what a set of intervals and a trie can both hold.
pub(super) fn prefixes(count: usize, random: &mut Random) -> Vec<(Ipv4Addr, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    while found.len() < count {
        let missing = count - found.len();
        found.extend((0..missing + missing / 8).map(|_| {
            let bits = LENGTHS.start() + below(random, LENGTHS.end() - LENGTHS.start() + 1);
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            ((below(random, u32::MAX) >> 3 | 0x4000_0000) & !host, bits)
        }));
        found.sort_unstable();
        let mut end = 0;
        // Whoever begins within the one before, with at least as many bits, lies within it.
        found.retain(|(address, bits)| {
            let free = *address >= end;
            if free {
                end = address + u32::MAX.checked_shr(*bits).unwrap_or(0) + 1;
            }
            free
        });
        while found.len() > count {
            found.swap_remove(random.below(found.len()));
        }
    }
    found.into_iter().map(|(address, bits)| (Ipv4Addr::from_bits(address), bits)).collect()
}

/// Sources anywhere within them, as words of a frame.
pub(super) fn inside(prefixes: &[(Ipv4Addr, u32)], random: &mut Random) -> Vec<u32> {
    (0..LISTED)
        .filter_map(|_| {
            let (address, bits) = prefixes.get(random.below(prefixes.len()))?;
            let host = u32::MAX.checked_shr(*bits).unwrap_or(0);
            let source = Ipv4Addr::from_bits(address.to_bits() | (below(random, u32::MAX) & host));
            Some(u32::from_ne_bytes(source.octets()))
        })
        .collect()
}

fn below(random: &mut Random, bound: u32) -> u32 {
    u32::try_from(random.below(bound as usize)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_lies_within_another() {
        let mut prefixes = prefixes(5000, &mut Random(9));
        assert_eq!(prefixes.len(), 5000);
        prefixes.sort_unstable();
        for pair in prefixes.windows(2) {
            let (address, bits) = pair[0];
            let last = address.to_bits() | u32::MAX.checked_shr(bits).unwrap_or(0);
            assert!(last < pair[1].0.to_bits(), "{pair:?}");
        }
    }

    #[test]
    fn sources_lie_inside() {
        let prefixes = [(Ipv4Addr::new(32, 1, 0, 0), 16)];
        let sources = inside(&prefixes, &mut Random(9));
        assert_eq!(sources.len(), LISTED);
        assert!(sources.iter().all(|source| source.to_ne_bytes()[..2] == [32, 1]));
    }
}
