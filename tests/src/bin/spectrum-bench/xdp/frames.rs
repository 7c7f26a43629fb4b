//! The frames of each path, and sources that are or are not under a blocked prefix.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use spectrum_common::Reason;
use spectrum_tests::Frame;
use spectrum_tests::frame::{ACK, SYN};

use crate::stats::Random;

/// The edge's address and port that belong to an application.
pub(super) const EDGE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
pub(super) const EDGE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x10);
pub(super) const PORT: u16 = 443;
/// A prefix that an allow rule names.
pub(super) const ALLOWED_V4: (Ipv4Addr, u32) = (Ipv4Addr::new(192, 0, 2, 0), 24);

/// An MSS of 1460, SACK, timestamps, a window scale: what Linux asks with.
const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

/// A request for a connection as Linux sends it.
pub(crate) fn syn(destination: IpAddr, destination_port: u16) -> Frame {
    Frame { destination, destination_port, tcp_options: OPTIONS.to_vec(), ..Frame::tcp_syn() }
}

/// A way through the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    NotOursV4,
    NotOursV6,
    SteeredV4,
    SteeredV6,
    AllowedV4,
    BlockedV4,
    BlockedV6,
    AnsweredV4,
    AnsweredV6,
}

impl Path {
    pub(super) const ALL: [Self; 9] = [
        Self::NotOursV4,
        Self::NotOursV6,
        Self::SteeredV4,
        Self::SteeredV6,
        Self::AllowedV4,
        Self::BlockedV4,
        Self::BlockedV6,
        Self::AnsweredV4,
        Self::AnsweredV6,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::NotOursV4 => "not ours, IPv4",
            Self::NotOursV6 => "not ours, IPv6",
            Self::SteeredV4 => "steered, no rule speaks, IPv4",
            Self::SteeredV6 => "steered, no rule speaks, IPv6",
            Self::AllowedV4 => "steered, allowed by prefix, IPv4",
            Self::BlockedV4 => "blocked by prefix, IPv4",
            Self::BlockedV6 => "blocked by prefix, IPv6",
            Self::AnsweredV4 => "a SYN, answered with a cookie, IPv4",
            Self::AnsweredV6 => "a SYN, answered with a cookie, IPv6",
        }
    }

    /// The reason every frame of this path must be counted under.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::NotOursV4 | Self::NotOursV6 => Reason::NotOurs,
            Self::SteeredV4 | Self::SteeredV6 => Reason::Steered,
            Self::AllowedV4 => Reason::Allowed,
            Self::BlockedV4 | Self::BlockedV6 => Reason::Blocked,
            Self::AnsweredV4 | Self::AnsweredV6 => Reason::SynCookie,
        }
    }

    pub(super) fn frames(self, sources: &Sources) -> Vec<Vec<u8>> {
        let frames = |sources: &[IpAddr], destination: IpAddr| -> Vec<Vec<u8>> {
            // Segments of open connections are what there is most of; only what is to be answered asks for one.
            let (tcp_flags, tcp_options) =
                if self.reason() == Reason::SynCookie { (SYN, OPTIONS.to_vec()) } else { (ACK, Vec::new()) };
            let frame = Frame { destination, destination_port: PORT, tcp_flags, tcp_options, ..Frame::tcp_syn() };
            sources.iter().map(|source| Frame { source: *source, ..frame.clone() }.build()).collect()
        };
        let elsewhere_v4 = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 11));
        let elsewhere_v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x11));
        match self {
            Self::NotOursV4 => frames(&sources.free_v4, elsewhere_v4),
            Self::NotOursV6 => frames(&sources.free_v6, elsewhere_v6),
            Self::SteeredV4 | Self::AnsweredV4 => frames(&sources.free_v4, EDGE_V4.into()),
            Self::SteeredV6 | Self::AnsweredV6 => frames(&sources.free_v6, EDGE_V6.into()),
            Self::AllowedV4 => frames(&sources.allowed_v4, EDGE_V4.into()),
            Self::BlockedV4 => frames(&sources.blocked_v4, EDGE_V4.into()),
            Self::BlockedV6 => frames(&sources.blocked_v6, EDGE_V6.into()),
        }
    }
}

/// Random blocked prefixes, half of each family, and sources inside and outside of them.
pub(super) struct Sources {
    pub(super) prefixes_v4: Vec<(Ipv4Addr, u32)>,
    pub(super) prefixes_v6: Vec<(Ipv6Addr, u32)>,
    free_v4: Vec<IpAddr>,
    free_v6: Vec<IpAddr>,
    allowed_v4: Vec<IpAddr>,
    blocked_v4: Vec<IpAddr>,
    blocked_v6: Vec<IpAddr>,
}

/// Lengths that real block lists are made of.
const LENGTHS_V4: std::ops::RangeInclusive<u32> = 16..=32;
const LENGTHS_V6: std::ops::RangeInclusive<u32> = 32..=64;

impl Sources {
    /// `rules` prefixes and `count` sources of each kind.
    pub(super) fn new(rules: usize, count: usize, random: &mut Random) -> Self {
        let mut v4 = HashSet::new();
        let mut v6 = HashSet::new();
        while v4.len() < rules / 2 {
            let bits = length(LENGTHS_V4, random);
            let prefix = cut_v4(address_v4(random), bits);
            // The allowed prefix must not be inside a blocked one, nor the other way round: each frame has one path.
            if cut_v4(prefix, ALLOWED_V4.1) != ALLOWED_V4.0 && cut_v4(ALLOWED_V4.0, bits) != prefix {
                v4.insert((prefix, bits));
            }
        }
        while v6.len() < rules - rules / 2 {
            let bits = length(LENGTHS_V6, random);
            v6.insert((cut_v6(address_v6(random), bits), bits));
        }
        let listed_v4 = |address| LENGTHS_V4.into_iter().any(|bits| v4.contains(&(cut_v4(address, bits), bits)));
        let listed_v6 = |address| LENGTHS_V6.into_iter().any(|bits| v6.contains(&(cut_v6(address, bits), bits)));
        let mut free_v4 = Vec::new();
        while free_v4.len() < count {
            let address = address_v4(random);
            if !listed_v4(address) && cut_v4(address, ALLOWED_V4.1) != ALLOWED_V4.0 {
                free_v4.push(IpAddr::V4(address));
            }
        }
        let mut free_v6 = Vec::new();
        while free_v6.len() < count {
            let address = address_v6(random);
            if !listed_v6(address) {
                free_v6.push(IpAddr::V6(address));
            }
        }
        // Sorted, because a set's order changes from run to run and the numbers drawn must not.
        let mut prefixes_v4: Vec<_> = v4.into_iter().collect();
        let mut prefixes_v6: Vec<_> = v6.into_iter().collect();
        prefixes_v4.sort_unstable();
        prefixes_v6.sort_unstable();
        let inside_v4 = |(prefix, bits): (Ipv4Addr, u32), random: &mut Random| {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(prefix.to_bits() | (address_v4(random).to_bits() & host)))
        };
        let inside_v6 = |(prefix, bits): (Ipv6Addr, u32), random: &mut Random| {
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(prefix.to_bits() | (address_v6(random).to_bits() & host)))
        };
        let mut drawn_v4 = Vec::new();
        let mut drawn_v6 = Vec::new();
        for _ in 0..count {
            drawn_v4.extend(prefixes_v4.get(random.below(prefixes_v4.len())).map(|prefix| inside_v4(*prefix, random)));
            drawn_v6.extend(prefixes_v6.get(random.below(prefixes_v6.len())).map(|prefix| inside_v6(*prefix, random)));
        }
        let allowed_v4 = (0..count).map(|_| inside_v4(ALLOWED_V4, random)).collect();
        Self { prefixes_v4, prefixes_v6, free_v4, free_v6, allowed_v4, blocked_v4: drawn_v4, blocked_v6: drawn_v6 }
    }
}

fn length(range: std::ops::RangeInclusive<u32>, random: &mut Random) -> u32 {
    let span = (range.end() - range.start()) as usize + 1;
    range.start() + u32::try_from(random.below(span)).unwrap_or(0)
}

fn cut_v4(address: Ipv4Addr, bits: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() & !u32::MAX.checked_shr(bits).unwrap_or(0))
}

fn cut_v6(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & !u128::MAX.checked_shr(bits).unwrap_or(0))
}

#[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
fn address_v4(random: &mut Random) -> Ipv4Addr {
    Ipv4Addr::from_bits(random.next() as u32)
}

/// Within `2000::/3`, where the addresses of the Internet are.
fn address_v6(random: &mut Random) -> Ipv6Addr {
    let bits = u128::from(random.next()) << 64 | u128::from(random.next());
    Ipv6Addr::from_bits(bits >> 3 | 1 << 125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_keeps_the_leading_bits() {
        assert_eq!(cut_v4(Ipv4Addr::new(203, 0, 113, 255), 24), Ipv4Addr::new(203, 0, 113, 0));
        assert_eq!(cut_v4(Ipv4Addr::new(203, 0, 113, 255), 32), Ipv4Addr::new(203, 0, 113, 255));
        assert_eq!(cut_v6("2001:db8::1".parse().unwrap(), 32), "2001:db8::".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn blocked_sources_are_under_a_prefix_and_free_ones_under_none() {
        let sources = Sources::new(200, 300, &mut Random(7));
        let listed = |address: &IpAddr| match address {
            IpAddr::V4(v4) => sources.prefixes_v4.iter().any(|(prefix, bits)| cut_v4(*v4, *bits) == *prefix),
            IpAddr::V6(v6) => sources.prefixes_v6.iter().any(|(prefix, bits)| cut_v6(*v6, *bits) == *prefix),
        };
        assert_eq!(sources.prefixes_v4.len() + sources.prefixes_v6.len(), 200);
        assert!(sources.blocked_v4.iter().chain(&sources.blocked_v6).all(listed));
        assert!(!sources.free_v4.iter().chain(&sources.free_v6).chain(&sources.allowed_v4).any(listed));
    }
}
