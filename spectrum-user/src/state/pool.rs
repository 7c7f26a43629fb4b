//! The addresses of a prefix that may be given out, without ever walking the prefix.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use ipnet::IpNet;

use super::assignments::Family;

/// Hands out addresses of one pool, lowest first.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    prefix: IpNet,
    /// What has not been looked at yet, as numbers.
    left: RangeInclusive<u128>,
}

impl Pool {
    pub(super) fn new(prefix: IpNet) -> Self {
        Self { prefix, left: usable(prefix) }
    }

    pub(super) fn family(&self) -> Family {
        match self.prefix {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }

    /// Whether the address is one that this pool gives out.
    pub(super) fn gives(&self, address: IpAddr) -> bool {
        self.prefix.contains(&address) && usable(self.prefix).contains(&number(address))
    }

    /// `198.51.100.0/24 (254 addresses)`.
    pub(super) fn describe(&self) -> String {
        let usable = usable(self.prefix);
        let count = (usable.end() - usable.start()).saturating_add(1);
        let noun = if count == 1 { "address" } else { "addresses" };
        match self.prefix {
            // Nobody counts these.
            IpNet::V6(v6) if v6.prefix_len() < 96 => v6.to_string(),
            prefix => format!("{prefix} ({count} {noun})"),
        }
    }

    /// The lowest address that has not been looked at and is free. What it passes over is never free again, so a pool
    /// takes no more steps than there are addresses in use.
    pub(super) fn next_free(&mut self, is_taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let prefix = self.prefix;
        self.left.by_ref().map(|number| address(prefix, number)).find(|address| !is_taken(*address))
    }
}

/// Not the network and broadcast addresses of an IPv4 prefix that has them (RFC 3021: /31 has none), and not the
/// subnet-router anycast address of an IPv6 one (RFC 4291, 2.6.1; RFC 6164: /127 has none in use).
fn usable(prefix: IpNet) -> RangeInclusive<u128> {
    let (first, last) = (number(prefix.network()), number(prefix.broadcast()));
    match prefix {
        IpNet::V4(v4) if v4.prefix_len() < 31 => first + 1..=last - 1,
        IpNet::V6(v6) if v6.prefix_len() < 127 => first + 1..=last,
        _ => first..=last,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address(prefix: IpNet, number: u128) -> IpAddr {
    match prefix {
        // A number of an IPv4 prefix has 32 bits; no other comes here.
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or_default())),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(prefix: &str) -> Vec<String> {
        let mut pool = Pool::new(prefix.parse().unwrap());
        std::iter::from_fn(|| pool.next_free(|_| false)).take(5).map(|address| address.to_string()).collect()
    }

    #[test]
    fn leaves_out_what_is_no_host_address() {
        assert_eq!(all("198.51.100.8/30"), ["198.51.100.9", "198.51.100.10"]);
        assert_eq!(all("198.51.100.8/31"), ["198.51.100.8", "198.51.100.9"]);
        assert_eq!(all("198.51.100.8/32"), ["198.51.100.8"]);
        assert_eq!(all("2001:db8::/126"), ["2001:db8::1", "2001:db8::2", "2001:db8::3"]);
        assert_eq!(all("2001:db8::/127"), ["2001:db8::", "2001:db8::1"]);
        assert_eq!(all("2001:db8::7/128"), ["2001:db8::7"]);
    }

    #[test]
    fn gives_what_it_hands_out_and_nothing_else() {
        let pool = Pool::new("198.51.100.0/24".parse().unwrap());
        for (address, given) in [
            ("198.51.100.0", false),
            ("198.51.100.1", true),
            ("198.51.100.254", true),
            ("198.51.100.255", false),
            ("198.51.101.1", false),
            ("::c633:6401", false),
        ] {
            assert_eq!(pool.gives(address.parse().unwrap()), given, "{address}");
        }
    }

    #[test]
    fn passes_over_what_is_taken() {
        let mut pool = Pool::new("2001:db8::/32".parse().unwrap());
        let taken: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(pool.next_free(|address| address == taken), Some("2001:db8::2".parse().unwrap()));
    }
}
