//! Which hostname has which addresses of the pools.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

/// The addresses given to hostnames with dynamic edge addresses. What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Assignments(BTreeMap<String, Addresses>);

/// Those of one hostname: at most one of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

impl Assignments {
    pub fn of(&self, hostname: &str) -> Addresses {
        self.0.get(hostname).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Addresses)> {
        self.0.iter().map(|(hostname, addresses)| (hostname.as_str(), *addresses))
    }

    pub(super) fn set(&mut self, hostname: &str, address: IpAddr) {
        let addresses = self.0.entry(hostname.to_owned()).or_default();
        match address {
            IpAddr::V4(v4) => addresses.ipv4 = Some(v4),
            IpAddr::V6(v6) => addresses.ipv6 = Some(v6),
        }
    }
}

impl Addresses {
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }

    pub fn of(self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ipv4.map(IpAddr::V4),
            Family::V6 => self.ipv6.map(IpAddr::V6),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}
