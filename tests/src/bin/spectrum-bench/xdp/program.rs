//! Spectrum's own object with the maps of an ordinary node: one application and the rules of [`Sources`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use aya::maps::PerCpuArray;
use spectrum_common::layout::{
    Count, PROTOCOL_TCP, RuleKeyV4, RuleKeyV6, RuleValue, SCOPE_USER, SteerKey, SteerValue, steer_flags,
};
use spectrum_common::{Reason, names, steer};
use spectrum_user::dataplane::apply::Mode;
use spectrum_user::dataplane::diff::{Op, diff};
use spectrum_user::dataplane::image::{MapImage, Prefix, octets};
use spectrum_user::dataplane::load::{Loaded, Options};
use spectrum_user::dataplane::maps::{ConfigMaps, MapSource};
use spectrum_user::dataplane::rule_table::RuleTable;
use spectrum_user::geo::Table;
use spectrum_user::listen::Listeners;
use spectrum_user::model::GeoMemory;

use super::frames::{ALLOWED_V4, EDGE_V4, EDGE_V6, PORT, Sources};

pub(crate) struct Program {
    loaded: Loaded,
    descriptor: OwnedFd,
    maps: ConfigMaps,
    _listeners: Listeners,
    _table: RuleTable,
}

impl Program {
    pub(super) fn load(sources: &Sources) -> Result<Self> {
        Self::with(&image(sources))
    }

    /// With these maps, in the calling thread's network namespace.
    pub(crate) fn with(image: &MapImage) -> Result<Self> {
        let mut loaded = Loaded::load(Options::default())?;
        let descriptor = loaded.xdp()?.fd()?.as_fd().try_clone_to_owned()?;
        let mut maps = ConfigMaps::open(MapSource::Object(&mut loaded.ebpf))?;
        maps.apply(&diff(&MapImage::default(), image))?;
        let table = RuleTable::of(image)?;
        maps.put_rule_table(table.array())?;
        // For the answers to SYNs: a listener, the way to it, and cookies for every SYN, all in that namespace.
        let listeners = Listeners::bind(1)?;
        maps.set_tcp_listener(listeners.first()?)?;
        loaded.steer()?.attach(File::open("/proc/thread-self/ns/net")?)?;
        fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").context("write tcp_syncookies")?;
        Ok(Self { loaded, descriptor, maps, _listeners: listeners, _table: table })
    }

    /// Segments of no connection are dropped, as while a flood lasts.
    pub(crate) fn refuse_orphans(&mut self) -> Result<()> {
        Ok(self.maps.set_mode(Mode { refuse_orphans: true, ..Mode::default() })?)
    }

    /// Puts a table of networks and countries in place. Returns the bytes that it takes.
    pub(super) fn put(&mut self, table: &Table, memory: GeoMemory) -> Result<usize> {
        Ok(self.maps.set_geo(table, memory)?)
    }

    /// Whether the application's sources are looked up in it.
    pub(super) fn ask_networks(&mut self, ask: bool) -> Result<()> {
        let asks = steer_flags::IP_FIREWALL | if ask { steer_flags::ASN_RULES } else { 0 };
        let ops = steer(asks).map(|(prefix, value)| Op::SetSteer(prefix, value));
        self.maps.apply(&ops)?;
        Ok(())
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Packets that the program has counted under `reason`.
    pub(crate) fn counted(&self, reason: Reason) -> Result<u64> {
        let map = self.loaded.ebpf.map(names::COUNTERS).context("the object has no counters")?;
        let counters: PerCpuArray<_, Count> = map.try_into()?;
        Ok(counters.get(&reason.index(), 0)?.iter().map(|count| count.packets).sum())
    }
}

/// The application's entries for both families.
fn steer(flags: u32) -> [(Prefix<SteerKey>, SteerValue); 2] {
    [IpAddr::V4(EDGE_V4), IpAddr::V6(EDGE_V6)].map(|address| {
        let key = steer::key(PROTOCOL_TCP, octets(address), PORT.to_be_bytes());
        (Prefix { bits: steer::PORT_BITS, key }, SteerValue { app: 0, zone: 1, flags })
    })
}

fn image(sources: &Sources) -> MapImage {
    let steer = steer(steer_flags::IP_FIREWALL);
    let scope = SCOPE_USER.to_be_bytes();
    let scope_bits = u32::BITS;
    let block = |rule: usize| RuleValue { block: u32::try_from(rule).unwrap_or(u32::MAX), ..RuleValue::default() };
    let mut rules_v4: BTreeMap<_, _> = sources
        .prefixes_v4
        .iter()
        .zip(2..)
        .map(|((address, bits), rule)| {
            (Prefix { bits: scope_bits + bits, key: RuleKeyV4 { scope, address: address.octets() } }, block(rule))
        })
        .collect();
    let (allowed, allowed_bits) = ALLOWED_V4;
    let key = RuleKeyV4 { scope, address: allowed.octets() };
    rules_v4.insert(Prefix { bits: scope_bits + allowed_bits, key }, RuleValue { allow: 1, ..RuleValue::default() });
    let rules_v6 = sources
        .prefixes_v6
        .iter()
        .zip(2 + sources.prefixes_v4.len()..)
        .map(|((address, bits), rule)| {
            (Prefix { bits: scope_bits + bits, key: RuleKeyV6 { scope, address: address.octets() } }, block(rule))
        })
        .collect();
    MapImage { steer: steer.into(), rules_v4, rules_v6, ..MapImage::default() }
}
