//! Who owns which destinations: applications and pools.

use std::{net::IpAddr, ops::RangeInclusive};

use aya::maps::{Array, LpmTrie, lpm_trie::Key};
use ipnet::IpNet;
use spectrum_common::{
    layout::{PROTOCOL_TCP, PROTOCOL_UDP, Policy, SteerKey, SteerValue, steer_flags},
    names, steer,
};

use super::Kernel;

/// Where the ordinary frames of both families go, and the pools around it.
pub const EDGE: [&str; 2] = ["198.51.100.10", "2001:db8:51::10"];
pub const POOL: [&str; 2] = ["198.51.100.0/24", "2001:db8:51::/64"];
/// Where they come from, and prefixes around that.
pub const SOURCE: [&str; 2] = ["192.0.2.7", "2001:db8:c::7"];
pub const SOURCE_NET: [&str; 2] = ["192.0.2.0/24", "2001:db8:c::/48"];

/// An application, or a part of one: these ports of this address.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the application")]
#[derive(Clone, Debug)]
pub struct App {
    pub number: u32,
    pub zone: u32,
    pub protocol: u8,
    /// An address, or a prefix.
    pub address: String,
    pub ports: RangeInclusive<u16>,
    pub ip_firewall: bool,
    /// Rules by network or country may speak of its clients.
    pub class_rules: bool,
    /// `syn_cookies` is not `never`.
    pub syn_cookies: bool,
    pub policy: Policy,
    /// `udp_fragments` is `drop`.
    pub no_fragments: bool,
}

impl Default for App {
    fn default() -> Self {
        Self {
            number: 1,
            zone: 1,
            protocol: PROTOCOL_TCP,
            address: EDGE[0].into(),
            ports: 443..=443,
            ip_firewall: false,
            class_rules: false,
            syn_cookies: true,
            policy: Policy::default(),
            no_fragments: false,
        }
    }
}

/// What happens to the ports of a pool address that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Drop,
    Reset,
}

impl Kernel {
    /// A node with this application at both edge addresses.
    pub fn node(app: &App) -> Self {
        let mut kernel = Self::load();
        for address in EDGE {
            kernel.steer(&App { address: address.into(), ..app.clone() });
        }
        kernel
    }

    /// A node whose one application checks access rules.
    pub fn firewalled() -> Self {
        Self::node(&App { ip_firewall: true, ..App::default() })
    }

    /// Makes both pools ours.
    #[must_use]
    pub fn with_pools(mut self, closed: Closed) -> Self {
        for pool in POOL {
            self.pool(pool, closed);
        }
        self
    }

    /// Makes an application own its ports.
    pub fn steer(&mut self, app: &App) {
        let firewall = if app.ip_firewall { steer_flags::IP_FIREWALL } else { 0 };
        let cookies = if app.syn_cookies { 0 } else { steer_flags::NO_SYN_COOKIES };
        let classes = if app.class_rules { steer_flags::CLASS_RULES } else { 0 };
        let policy = if app.policy == Policy::default() { 0 } else { steer_flags::POLICY };
        let fragments = if app.no_fragments { steer_flags::NO_FRAGMENTS } else { 0 };
        let flags = firewall | cookies | classes | policy | fragments;
        let mut policies: Array<_, Policy> = self.ebpf.map_mut(names::POLICIES).unwrap().try_into().unwrap();
        policies.set(app.number, app.policy, 0).expect("write POLICIES");
        let value = SteerValue { app: app.number, zone: app.zone, flags };
        let (address, address_bits) = address_and_bits(&app.address);
        if address_bits < steer::ADDRESS_BITS {
            self.insert_steer(steer::key(app.protocol, address, [0; 2]), address_bits, value);
            return;
        }
        for prefix in steer::port_prefixes(*app.ports.start(), *app.ports.end()) {
            let key = steer::key(app.protocol, address, prefix.port.to_be_bytes());
            self.insert_steer(key, address_bits + prefix.bits, value);
        }
    }

    /// Makes an address or a whole prefix a pool's: its ports are closed where no application has them.
    pub fn pool(&mut self, prefix: &str, closed: Closed) {
        self.pool_of(prefix, closed, false);
    }

    /// As [`Self::pool`], and fragments of datagrams are dropped.
    pub fn pool_without_fragments(&mut self, prefix: &str) {
        self.pool_of(prefix, Closed::Drop, true);
    }

    fn pool_of(&mut self, prefix: &str, closed: Closed, no_fragments: bool) {
        let flags = match closed {
            Closed::Drop => steer_flags::CLOSED_DROP,
            Closed::Reset => steer_flags::CLOSED_RESET,
        };
        let (address, bits) = address_and_bits(prefix);
        for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
            let refused = no_fragments && protocol == PROTOCOL_UDP;
            let flags = flags | if refused { steer_flags::NO_FRAGMENTS } else { 0 };
            let value = SteerValue { app: 0, zone: 0, flags };
            self.insert_steer(steer::key(protocol, address, [0; 2]), bits, value);
        }
    }

    fn insert_steer(&mut self, key: SteerKey, bits: u32, value: SteerValue) {
        let mut map: LpmTrie<_, SteerKey, SteerValue> = self.ebpf.map_mut(names::STEER).unwrap().try_into().unwrap();
        map.insert(&Key::new(bits, key), value, 0).expect("write STEER");
    }
}

/// An address, or a prefix, as a steering key carries it.
fn address_and_bits(prefix: &str) -> ([u8; 16], u32) {
    let prefix = prefix.parse::<IpNet>().unwrap_or_else(|_| IpNet::from(prefix.parse::<IpAddr>().expect("a prefix")));
    match prefix.network() {
        IpAddr::V4(network) => (
            steer::mapped(network.octets()),
            steer::PROTOCOL_BITS + steer::V4_MAPPED_BITS + u32::from(prefix.prefix_len()),
        ),
        IpAddr::V6(network) => (network.octets(), steer::PROTOCOL_BITS + u32::from(prefix.prefix_len())),
    }
}
