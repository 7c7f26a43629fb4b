//! What an answered SYN costs: with a cookie out of XDP, by the kernel's own cookies, and by nftables' synproxy.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};
use spectrum_common::Reason;

use super::drops::{self, DROP_ONLY};
use super::lane::{Cost, Crowd, DEVICE, Lane, TARGET, nft, tcp_counter};
use super::ours::{Ours, PORT};
use super::shape::{Shape, Sources};
use super::table::{Bound, Part};
use super::{Findings, Plan, rounds};
use crate::bpf::{XDP_DROP, XDP_PASS, XDP_TX};
use crate::contestant::direct::EmptyXdp;
use crate::stats::Random;
use crate::usage::Usage;
use crate::xdp::syn;

const SPECTRUM: &str = "spectrum";
const KERNEL: &str = "kernel cookies";
const SYNPROXY: &str = "nft synproxy";
/// As its documentation sets it up: SYNs without connection tracking, and the answer to whatever is not tracked.
const RULES: &str = "table ip bench {
    chain early { type filter hook prerouting priority raw; tcp dport 443 tcp flags syn notrack; }
    chain guard { type filter hook input priority filter; tcp dport 443 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm; ct state invalid drop; }
}";

/// Who answers.
enum By {
    Spectrum(Box<Ours>),
    Kernel,
    Synproxy,
    /// Every packet gets the same verdict.
    Nobody(i32),
}

struct Contestant {
    name: &'static str,
    lane: Lane,
    by: By,
    _listener: Option<TcpListener>,
    _xdp: Option<EmptyXdp>,
}

pub(super) fn run(plan: &Plan, crowd: &Crowd) -> Result<Part> {
    let rules = drops::prefixes(10_000, &mut Random(2));
    let contestants = vec![
        Contestant::new(crowd, DROP_ONLY, 40, |_| Ok(By::Nobody(XDP_DROP)))?,
        Contestant::new(crowd, "XDP that sends everything back", 45, |_| Ok(By::Nobody(XDP_TX)))?,
        Contestant::new(crowd, SPECTRUM, 41, |lane| Ok(By::Spectrum(Box::new(Ours::attach(lane, &[])?))))?,
        Contestant::new(crowd, "spectrum, 10,000 rules", 42, |lane| {
            Ok(By::Spectrum(Box::new(Ours::attach(lane, &rules)?)))
        })?,
        Contestant::new(crowd, KERNEL, 43, |_| Ok(By::Kernel))?,
        Contestant::new(crowd, SYNPROXY, 44, |lane| {
            nft(&lane.namespace, RULES)?;
            lane.namespace.sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
            Ok(By::Synproxy)
        })?,
    ];
    let shape = Shape::new(syn(TARGET, PORT), Sources::Any);
    let mut part = Part {
        name: "answers",
        title: "A SYN of a forged source".to_owned(),
        note: "Cost per packet that reached the device, the device's own part and the sending of the answer included. \
               Answers of the kernel and of synproxy are freed by a device that does nothing, Spectrum's go over the veth \
               pair and are dropped there."
            .to_owned(),
        columns: Cost::COLUMNS.to_vec(),
        takes: Vec::new(),
        targets: Vec::new(),
    };
    part.takes = rounds(plan, &part.title, &contestants, |contestant| {
        let before = Usage::now(None)?;
        let cost = contestant
            .lane
            .cost(crowd, &shape, plan.cost_span(), &|| contestant.answered())
            .with_context(|| contestant.name)?;
        let figures = vec![(contestant.name.to_owned(), cost.figures())];
        Ok(Findings { figures, spent: Usage::now(None)?.since(before) })
    })?;
    for peer in [KERNEL, SYNPROXY] {
        let third = Bound::AtMost(1.0 / 3.0);
        part.expect(format!("CPU per answered SYN: of {peer}"), third, part.ratio((SPECTRUM, 0), (peer, 0)));
    }
    Ok(part)
}

impl Contestant {
    fn new(crowd: &Crowd, name: &'static str, number: usize, defend: impl FnOnce(&Lane) -> Result<By>) -> Result<Self> {
        let lane = Lane::new(crowd, number)?;
        lane.namespace.sysctl("net/ipv4/tcp_syncookies", "2")?;
        let by = defend(&lane).with_context(|| format!("set up {name}"))?;
        let listener = match by {
            By::Kernel => Some(listen(&lane)?),
            _ => None,
        };
        let attach = |action| EmptyXdp::attach_to(&lane.namespace, DEVICE, action);
        let xdp = match by {
            By::Spectrum(_) => None,
            By::Nobody(action) => Some(attach(action)?),
            By::Kernel | By::Synproxy => Some(attach(XDP_PASS)?),
        };
        Ok(Self { name, lane, by, _listener: listener, _xdp: xdp })
    }

    fn answered(&self) -> Result<u64> {
        let lane = &self.lane;
        match &self.by {
            By::Spectrum(ours) => ours.counted(&[Reason::SynCookie]),
            By::Kernel => tcp_counter(&lane.namespace, "SyncookiesSent"),
            By::Synproxy => lane.namespace.run(|| {
                // One line for each core, in hexadecimal (`synproxy_cpu_seq_show`).
                let table =
                    fs::read_to_string("/proc/thread-self/net/stat/synproxy").context("read synproxy's count")?;
                let received = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
                Ok(table.lines().skip(1).filter_map(received).sum())
            }),
            By::Nobody(_) => super::lane::received(&lane.namespace, DEVICE),
        }
    }
}

fn listen(lane: &Lane) -> Result<TcpListener> {
    lane.namespace.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&std::net::SocketAddr::new(TARGET, PORT).into())?;
        socket.listen(16_384)?;
        Ok(socket.into())
    })
}
