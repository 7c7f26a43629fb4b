//! What the configuration maps should hold, as a value: pure, comparable, printable.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use spectrum_common::{
    fair::{self, Limits},
    geo,
    layout::{
        ClassKey, ObjectId, Policy, RuleKeyV4, RuleKeyV6, RuleValue, SCOPE_USER, SteerKey, SteerValue, steer_flags,
        udp_filters,
    },
    limits, sketch, steer,
};

use super::{
    numbers::{self, Exhausted, Names, Space},
    responders,
};
use crate::model::{
    AccessRule, Application, ClosedPorts, DesiredState, Leaders, PacketRate, RuleMode, Scope, SynCookies, Target,
    Transport, UdpFragments, ZoneId,
};

/// A key of an LPM trie. Sorts by length first: general before specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<K> {
    /// How many leading bits of `key` count; the others are zero.
    pub bits: u32,
    pub key: K,
}

/// The contents of every configuration map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapImage {
    pub steer: BTreeMap<Prefix<SteerKey>, SteerValue>,
    pub rules_v4: BTreeMap<Prefix<RuleKeyV4>, RuleValue>,
    pub rules_v6: BTreeMap<Prefix<RuleKeyV6>, RuleValue>,
    pub asn_rules: BTreeMap<ClassKey, RuleValue>,
    pub country_rules: BTreeMap<ClassKey, RuleValue>,
    pub apps: Names,
    pub rules: Names,
    pub zones: Names,
    /// By application number; who has none asks nothing.
    pub policies: BTreeMap<u32, Policy>,
}

/// A desired state that the maps cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error("the applications take {wanted} steering entries, and the map holds {}", limits::STEER)]
    Steer { wanted: usize },
    #[error("the access rules take {wanted} prefixes of one family, and the map holds {}", limits::RULE_PREFIXES)]
    RulePrefixes { wanted: usize },
    #[error("application {0} belongs to a zone that is not configured")]
    UnknownZone(ZoneId),
}

const APPS: Space = Space { kind: "applications", first: 0, capacity: limits::APPLICATIONS };
/// Rule 0 means none.
pub(super) const RULES: Space = Space { kind: "access rules", first: 1, capacity: limits::RULES };
/// Zone 0 is the user scope.
const ZONES: Space = Space { kind: "zones", first: SCOPE_USER + 1, capacity: limits::ZONES };

fn flags(app: &Application, fragments: UdpFragments, by_class: &[&AccessRule]) -> u32 {
    let firewall = if app.ip_firewall { steer_flags::IP_FIREWALL } else { 0 };
    let cookies = if app.syn_cookies == SynCookies::Never { steer_flags::NO_SYN_COOKIES } else { 0 };
    let policy = if policy(app) == Policy::default() { 0 } else { steer_flags::POLICY };
    firewall | cookies | policy | class_rules(app, by_class) | no_fragments(app.protocol.transport, fragments)
}

/// Which rules by network or country may speak of an application's clients.
fn class_rules(app: &Application, by_class: &[&AccessRule]) -> u32 {
    let speaking = by_class.iter().filter(|rule| app.ip_firewall && rule.speaks_in(app.zone));
    speaking.fold(0, |flags, rule| match rule.target {
        Target::Prefix(_) => flags,
        Target::Asn(_) => flags | steer_flags::ASN_RULES,
        Target::Country(_) => flags | steer_flags::COUNTRY_RULES,
    })
}

/// TCP has its own way to cut what it sends: its fragments are rare, and judged by their shape.
fn no_fragments(transport: Transport, fragments: UdpFragments) -> u32 {
    match (transport, fragments) {
        (Transport::Udp, UdpFragments::Drop) => steer_flags::NO_FRAGMENTS,
        (Transport::Udp, UdpFragments::Pass) | (Transport::Tcp, _) => 0,
    }
}

fn policy(app: &Application) -> Policy {
    let limit = |rate: Option<PacketRate>| rate.map_or(fair::UNLIMITED, |rate| sketch::per_window(rate.per_second()));
    let limits = Limits { per_source: limit(app.rates.per_source), total: limit(app.rates.total) };
    let bit = |on: bool, bit: u32| if on && app.protocol.transport == Transport::Udp { bit } else { 0 };
    let reflection = bit(app.udp_filters.reflection, udp_filters::REFLECTION);
    Policy { limits, udp_filters: reflection | bit(app.udp_filters.signatures, udp_filters::SIGNATURES) }
}

/// The image of `desired`; objects that `have` knows keep their numbers.
pub fn image(desired: &DesiredState, have: &MapImage) -> Result<MapImage, ImageError> {
    let apps = numbers::assign(&have.apps, desired.applications.iter().map(|app| app.id.bytes()), APPS)?;
    let rules = numbers::assign(&have.rules, desired.rules.iter().map(|rule| rule.id.bytes()), RULES)?;
    let zones = numbers::assign(&have.zones, desired.zones.iter().map(|zone| zone.id.bytes()), ZONES)?;
    let zone_number = |zone: ZoneId| zones.get(&zone.bytes()).copied().ok_or(ImageError::UnknownZone(zone));

    let mut image = MapImage::default();
    closed_pools(desired, &mut image.steer);
    let leaders = Leaders::of(desired);
    let by_class: Vec<&AccessRule> = desired.rules.iter().filter(|rule| rule.target.prefix().is_none()).collect();
    let mut values = BTreeMap::new();
    for app in &desired.applications {
        let flags = flags(app, desired.edge.udp_fragments, &by_class);
        let value = SteerValue { app: number(&apps, app.id.bytes()), zone: zone_number(app.zone)?, flags };
        if value.flags & steer_flags::POLICY != 0 {
            image.policies.insert(value.app, policy(app));
        }
        image.steer.extend(steer_prefixes(app, &leaders).map(|prefix| (prefix, value)));
        values.insert(app.id, value);
    }
    responders::add(&desired.responders, &values, &mut image.steer);
    let mut v4 = BTreeMap::new();
    let mut v6 = BTreeMap::new();
    for rule in &desired.rules {
        let scope = match rule.scope {
            Scope::User => SCOPE_USER,
            Scope::Zone(zone) => zone_number(zone)?,
        };
        let said = said(rule, number(&rules, rule.id.bytes()));
        match rule.target {
            Target::Prefix(net) => match rule_prefix(scope, net) {
                RulePrefix::V4(prefix) => add(&mut v4, prefix, said),
                RulePrefix::V6(prefix) => add(&mut v6, prefix, said),
            },
            Target::Asn(number) => add(&mut image.asn_rules, ClassKey { scope, number }, said),
            Target::Country(country) => {
                let key = ClassKey { scope, number: geo::country(country.bytes()) };
                add(&mut image.country_rules, key, said);
            }
        }
    }
    image.rules_v4 = inherit(v4, RuleValue::default());
    image.rules_v6 = inherit(v6, RuleValue::default());
    image.apps = names(&apps);
    image.rules = names(&rules);
    image.zones = names(&zones);
    check_capacity(&image)?;
    Ok(image)
}

/// Bits of a rule key in front of the address.
pub(super) const SCOPE_BITS: u32 = 32;

/// Where a rule stands, in the trie of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RulePrefix {
    V4(Prefix<RuleKeyV4>),
    V6(Prefix<RuleKeyV6>),
}

/// A prefix of addresses in a scope, by the scope's number.
pub(super) fn rule_prefix(scope: u32, net: IpNet) -> RulePrefix {
    let (scope, bits) = (scope.to_be_bytes(), SCOPE_BITS + u32::from(net.prefix_len()));
    match net {
        IpNet::V4(net) => RulePrefix::V4(Prefix { bits, key: RuleKeyV4 { scope, address: net.network().octets() } }),
        IpNet::V6(net) => RulePrefix::V6(Prefix { bits, key: RuleKeyV6 { scope, address: net.network().octets() } }),
    }
}

fn check_capacity(image: &MapImage) -> Result<(), ImageError> {
    if image.steer.len() > limits::STEER {
        return Err(ImageError::Steer { wanted: image.steer.len() });
    }
    let wanted = image.rules_v4.len().max(image.rules_v6.len());
    if wanted > limits::RULE_PREFIXES {
        return Err(ImageError::RulePrefixes { wanted });
    }
    Ok(())
}

fn number(numbers: &BTreeMap<[u8; 16], u32>, id: [u8; 16]) -> u32 {
    numbers.get(&id).copied().unwrap_or_default()
}

fn names(numbers: &BTreeMap<[u8; 16], u32>) -> Names {
    numbers.iter().map(|(id, number)| (*number, ObjectId { id: *id })).collect()
}

/// Every pool prefix as one entry per transport, for the ports that no application takes.
fn closed_pools(desired: &DesiredState, steer: &mut BTreeMap<Prefix<SteerKey>, SteerValue>) {
    let closed = match desired.edge.closed_ports {
        ClosedPorts::Drop => steer_flags::CLOSED_DROP,
        ClosedPorts::Reset => steer_flags::CLOSED_RESET,
    };
    for pool in &desired.edge.pools {
        let family_bits = if pool.addr().is_ipv4() { steer::V4_MAPPED_BITS } else { 0 };
        for transport in [Transport::Tcp, Transport::Udp] {
            let bits = steer::PROTOCOL_BITS + family_bits + u32::from(pool.prefix_len());
            let key = steer::key(transport.number(), octets(pool.network()), [0; 2]);
            let flags = closed | no_fragments(transport, desired.edge.udp_fragments);
            steer.insert(Prefix { bits, key }, SteerValue { app: 0, zone: 0, flags });
        }
    }
}

/// Where applications share an address, they are steered to by one of them.
fn steer_prefixes<'a>(app: &'a Application, leaders: &'a Leaders) -> impl Iterator<Item = Prefix<SteerKey>> + 'a {
    let ports = app.protocol.ports;
    app.addresses.iter().filter(|address| leaders.leads(app, **address)).flat_map(move |address| {
        steer::port_prefixes(ports.first(), ports.last()).map(move |prefix| Prefix {
            bits: steer::ADDRESS_BITS + prefix.bits,
            key: steer::key(app.protocol.transport.number(), octets(*address), prefix.port.to_be_bytes()),
        })
    })
}

/// An address as the maps carry it.
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => steer::mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address behind [`octets`], canonical.
pub fn address(octets: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(octets);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), |v4: Ipv4Addr| IpAddr::V4(v4))
}

pub(super) fn said(rule: &AccessRule, number: u32) -> RuleValue {
    let nothing = RuleValue::default();
    match rule.mode {
        RuleMode::Allow => RuleValue { allow: number, ..nothing },
        RuleMode::Block if rule.simulate => RuleValue { simulate: number, ..nothing },
        RuleMode::Block => RuleValue { block: number, ..nothing },
        RuleMode::Challenge => nothing,
    }
}

/// Rules of one target: a second one of a kind (another scope has another key) does not displace the first.
pub(super) fn add<K: Ord>(rules: &mut BTreeMap<K, RuleValue>, key: K, said: RuleValue) {
    if said == RuleValue::default() {
        return;
    }
    let value = rules.entry(key).or_default();
    *value = fill(*value, said);
}

/// Lets every prefix say what its covering prefixes say, where it says nothing itself. `base`: what covers them all.
pub(super) fn inherit<K: Ord + Copy + bytemuck::Pod>(
    own: BTreeMap<Prefix<K>, RuleValue>,
    base: RuleValue,
) -> BTreeMap<Prefix<K>, RuleValue> {
    // By address, and of one address the general before the specific: what covers a prefix comes before it, and what
    // comes between the two is covered too.
    let mut sorted: Vec<(Prefix<K>, RuleValue)> = own.into_iter().collect();
    sorted.sort_unstable_by_key(|(prefix, _)| (prefix.key, prefix.bits));
    let mut covering: Vec<(Prefix<K>, RuleValue)> = Vec::new();
    let whole = sorted.into_iter().map(|(prefix, value)| {
        while covering.pop_if(|(wider, _)| !wider.covers(&prefix)).is_some() {}
        let value = fill(value, covering.last().map_or(base, |(_, value)| *value));
        covering.push((prefix, value));
        (prefix, value)
    });
    whole.collect()
}

fn fill(own: RuleValue, other: RuleValue) -> RuleValue {
    let or = |own, other| if own == 0 { other } else { own };
    RuleValue {
        allow: or(own.allow, other.allow),
        block: or(own.block, other.block),
        simulate: or(own.simulate, other.simulate),
    }
}

impl<K: Copy + PartialEq + bytemuck::Pod> Prefix<K> {
    /// Whether `other` is within this prefix, or the same.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && truncate(*other, self.bits).key == self.key
    }
}

/// The prefix of `bits` bits that covers `prefix`.
pub(super) fn truncate<K: bytemuck::Pod>(prefix: Prefix<K>, bits: u32) -> Prefix<K> {
    let mut key = prefix.key;
    let kept = bits as usize / 8;
    for (i, byte) in bytemuck::bytes_of_mut(&mut key).iter_mut().enumerate().skip(kept) {
        *byte = if i == kept { *byte & !(0xff_u8 >> (bits % 8)) } else { 0 };
    }
    Prefix { bits, key }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
