//! From a source address to its network and country: what a [`table`] of them has, beside its nodes.

use core::net::IpAddr;

use crate::table::{self, Ahead, Reader};

/// What stands where in front of the table.
pub mod head {
    /// The root for IPv4, as [`root`](crate::table::root) has it.
    pub const V4_ROOT: u32 = 0;
    /// The same for IPv6.
    pub const V6_ROOT: u32 = 1;
    /// How much is in it, for people: ranges of addresses, and pairs of network and country.
    pub const V4_RANGES: u32 = 2;
    pub const V6_RANGES: u32 = 3;
    pub const CLASSES: u32 = 4;
    /// Words that every table begins with: one element.
    pub const WORDS: u32 = crate::table::NODE_WORDS;
}

/// Network and country of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// 0: none is known.
    pub asn: u32,
    /// As [`country`] writes it.
    pub country: u32,
}

impl Class {
    /// Of an address that no database speaks of.
    pub const UNKNOWN: Self = Self { asn: 0, country: country(*b"XX") };
}

/// Two letters as a number.
#[inline(always)]
pub const fn country(letters: [u8; 2]) -> u32 {
    ((letters[0] as u32) << 8) | letters[1] as u32
}

/// The class of an address.
pub fn class_of(address: IpAddr, reader: &impl Reader) -> Class {
    let slot = if address.is_ipv4() { head::V4_ROOT } else { head::V6_ROOT };
    class(reader, slot, table::ahead(address))
}

/// As [`class_of`]; `slot`: where in the head its root is.
#[inline(always)]
pub fn class(reader: &impl Reader, slot: u32, ahead: Ahead) -> Class {
    let found = reader.word(slot).and_then(|root| table::find(reader, root, ahead)).filter(|place| *place != 0);
    // Two words in one element: number, country.
    let class = found.and_then(|place| Some(Class { asn: reader.word(place)?, country: reader.word(place + 1)? }));
    class.unwrap_or(Class::UNKNOWN)
}
