//! Spectrum's own programs in a lane, with the maps of a node that has one application on one pool address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use spectrum_common::layout::{
    PROTOCOL_TCP, PROTOCOL_UDP, Policy, RuleKeyV4, RuleValue, SCOPE_USER, SteerValue, steer_flags,
};
use spectrum_common::{
    Reason,
    fair::{self, Limits},
    steer,
};
use spectrum_user::dataplane::image::{MapImage, Prefix, octets};

use super::lane::{DEVICE, Lane, TARGET};
use crate::bpf;
use crate::xdp::Program;

/// The application's port.
pub(super) const PORT: u16 = 443;

pub(super) struct Ours {
    program: Program,
    _link: OwnedFd,
}

impl Ours {
    /// In front of a lane, with these blocked prefixes; without any the application has no access rules to ask.
    pub(super) fn attach(lane: &Lane, blocked: &[(Ipv4Addr, u32)]) -> Result<Self> {
        Self::with(lane, &image(blocked, None))
    }

    /// As [`Self::attach`], and every source may ask for this many connections a second.
    pub(super) fn attach_rated(lane: &Lane, blocked: &[(Ipv4Addr, u32)], per_source: u32) -> Result<Self> {
        Self::with(lane, &image(blocked, Some(per_source)))
    }

    fn with(lane: &Lane, image: &MapImage) -> Result<Self> {
        lane.namespace.run(|| {
            let program = Program::with(image)?;
            let device = if_nametoindex(DEVICE).context("find the lane's device")?;
            let link = bpf::attach_xdp(program.descriptor(), device)?;
            Ok(Self { program, _link: link })
        })
    }

    /// As while a flood lasts.
    pub(super) fn refuse_orphans(&mut self) -> Result<()> {
        self.program.refuse_orphans()
    }

    /// What has become of all packets so far.
    pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
        let counted = |reason: Reason| Some((reason.as_str(), self.program.counted(reason).ok().filter(|n| *n > 0)?));
        Reason::ALL.into_iter().filter_map(counted).collect()
    }

    /// Packets counted under one of these reasons so far.
    pub(super) fn counted(&self, reasons: &[Reason]) -> Result<u64> {
        reasons.iter().map(|reason| self.program.counted(*reason)).sum()
    }
}

fn image(blocked: &[(Ipv4Addr, u32)], per_source: Option<u32>) -> MapImage {
    let firewall = if blocked.is_empty() { 0 } else { steer_flags::IP_FIREWALL };
    let policy = per_source.map_or(0, |_| steer_flags::POLICY);
    let flags = firewall | policy;
    let key = |protocol, port: u16| steer::key(protocol, octets(TARGET), port.to_be_bytes());
    let application =
        (Prefix { bits: steer::PORT_BITS, key: key(PROTOCOL_TCP, PORT) }, SteerValue { app: 0, zone: 1, flags });
    let closed = [PROTOCOL_TCP, PROTOCOL_UDP].map(|protocol| {
        let value = SteerValue { app: 0, zone: 0, flags: steer_flags::CLOSED_DROP };
        (Prefix { bits: steer::ADDRESS_BITS, key: key(protocol, 0) }, value)
    });
    let steer: BTreeMap<_, _> = closed.into_iter().chain([application]).collect();
    let scope = SCOPE_USER.to_be_bytes();
    let rules_v4 = (1..)
        .zip(blocked)
        .map(|(block, (address, bits))| {
            let key = RuleKeyV4 { scope, address: address.octets() };
            (Prefix { bits: u32::BITS + bits, key }, RuleValue { block, ..RuleValue::default() })
        })
        .collect();
    let limited = |per_source| Policy { limits: Limits { per_source, total: fair::UNLIMITED }, udp_filters: 0 };
    let policies = per_source.map(|per_source| (0, limited(per_source))).into_iter().collect();
    MapImage { steer, rules_v4, policies, ..MapImage::default() }
}
