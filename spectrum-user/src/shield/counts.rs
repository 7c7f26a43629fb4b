//! Who did how much since the last look: by host, by network, and by the class that databases give.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use spectrum_common::geo::Class;

use super::Frequent;
use crate::model::{Country, Target};

/// How much a target takes in, the widest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    Country,
    /// An autonomous system.
    Asn,
    /// An IPv4 /24, or an IPv6 /48: as small as networks are announced.
    Network,
    /// An IPv4 address, or an IPv6 /64.
    Host,
}

/// What evidence is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// The source is whatever the sender wrote.
    Forgeable,
    /// The source has completed a handshake.
    Proven,
}

/// What was seen since the last look.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections accepted.
    pub connections: Counts,
    /// Packets, as far as samples tell.
    pub packets: Counts,
    /// How many packets the heaviest sample stands for.
    pub grain: u64,
    /// Packets that a rule of ours has stopped.
    pub matched: HashMap<Target, u64>,
}

/// The heaviest of each width, in fixed memory.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    hosts: Frequent<Target>,
    networks: Frequent<Target>,
    asns: Frequent<Target>,
    countries: Frequent<Target>,
    /// What of an autonomous system is in which country.
    classes: Frequent<Class>,
}

impl Width {
    pub const NARROW_FIRST: [Self; 4] = [Self::Host, Self::Network, Self::Asn, Self::Country];

    pub fn of(target: Target) -> Self {
        match target {
            Target::Country(_) => Self::Country,
            Target::Asn(_) => Self::Asn,
            Target::Prefix(prefix) if host(prefix.network()).prefix_len() <= prefix.prefix_len() => Self::Host,
            Target::Prefix(_) => Self::Network,
        }
    }

    /// Whether a database says who belongs to it.
    pub fn is_class(self) -> bool {
        self <= Self::Asn
    }
}

impl Seen {
    pub fn of(&self, proof: Proof) -> &Counts {
        match proof {
            Proof::Forgeable => &self.packets,
            Proof::Proven => &self.connections,
        }
    }
}

impl Counts {
    /// Counts what a source of this class did. Where no database knows it, no class did it.
    pub fn add(&mut self, source: IpAddr, class: Class, weight: u64) {
        self.hosts.add(Target::Prefix(host(source)), weight);
        self.networks.add(Target::Prefix(network(source)), weight);
        if let Some(asn) = asn(class) {
            self.asns.add(asn, weight);
        }
        if let Some(country) = country(class) {
            self.countries.add(country, weight);
        }
        if class != Class::UNKNOWN {
            self.classes.add(class, weight);
        }
    }

    pub fn of(&self, width: Width) -> &Frequent<Target> {
        match width {
            Width::Host => &self.hosts,
            Width::Network => &self.networks,
            Width::Asn => &self.asns,
            Width::Country => &self.countries,
        }
    }

    pub fn classes(&self) -> &Frequent<Class> {
        &self.classes
    }

    /// What all did.
    pub fn total(&self) -> u64 {
        self.hosts.total()
    }

    /// What one did, at the least.
    pub fn did(&self, target: Target) -> u64 {
        self.of(Width::of(target)).iter().find(|(key, _)| *key == target).map_or(0, |(_, count)| count)
    }

    /// What both counted together.
    pub fn merge(&mut self, other: &Self) {
        self.hosts.merge(&other.hosts);
        self.networks.merge(&other.networks);
        self.asns.merge(&other.asns);
        self.countries.merge(&other.countries);
        self.classes.merge(&other.classes);
    }

    /// Begins anew, and gives what was counted.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// The host that an address belongs to: an IPv6 network of 64 bits is one household's or one server's.
pub fn host(address: IpAddr) -> IpNet {
    prefix(address, 32, 64)
}

/// The network that an address belongs to, as small as networks are announced.
pub fn network(address: IpAddr) -> IpNet {
    prefix(address, 24, 48)
}

fn prefix(address: IpAddr, v4: u8, v6: u8) -> IpNet {
    let length = if address.is_ipv4() { v4 } else { v6 };
    IpNet::new(address, length).unwrap_or_else(|_| address.into()).trunc()
}

/// The autonomous system of a class, where one is known.
fn asn(class: Class) -> Option<Target> {
    (class.asn != Class::UNKNOWN.asn).then_some(Target::Asn(class.asn))
}

/// The country of a class, where one is known.
fn country(class: Class) -> Option<Target> {
    (class.country != Class::UNKNOWN.country).then(|| Country::of(class.country).map(Target::Country))?
}

/// Whether a target that is a class takes this class in.
pub fn takes_in(target: Target, class: Class) -> bool {
    Some(target) == asn(class) || Some(target) == country(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(asn: u32, letters: [u8; 2]) -> Class {
        Class { asn, country: spectrum_common::geo::country(letters) }
    }

    #[test]
    fn what_a_source_does_counts_for_all_that_it_belongs_to() {
        let mut counts = Counts::default();
        counts.add("192.0.2.7".parse().unwrap(), class(64500, *b"DE"), 3);
        counts.add("192.0.2.8".parse().unwrap(), class(64500, *b"FR"), 4);
        counts.add("2001:db8::7".parse().unwrap(), Class::UNKNOWN, 5);
        let germany = Target::Country(Country::new("DE").unwrap());
        for (target, did) in [
            (Target::Prefix("192.0.2.7/32".parse().unwrap()), 3),
            (Target::Prefix("192.0.2.0/24".parse().unwrap()), 7),
            (Target::Prefix("2001:db8::/64".parse().unwrap()), 5),
            (Target::Prefix("2001:db8::/48".parse().unwrap()), 5),
            (Target::Asn(64500), 7),
            (germany, 3),
        ] {
            assert_eq!(counts.did(target), did, "{target}");
        }
        assert_eq!((counts.total(), counts.of(Width::Country).total()), (12, 7), "the unknown are of no class");
        assert!(takes_in(germany, class(0, *b"DE")) && !takes_in(germany, class(64500, *b"FR")));
        assert!(!takes_in(Target::Asn(0), Class::UNKNOWN));
    }
}
