//! From a source address to its network and country: one table of words, walked by both sides in the same way.
//!
//! A root is indexed by the first bits of the address, and every node behind it by the next four: 16 entries of 4
//! bytes, one line of cache. An entry is a node, a class, or nothing. Its depth is that of the prefix it belongs to, so
//! a lookup takes a handful of steps where the kernel's trie takes one for each bit (`trie_lookup_elem`).

use core::net::IpAddr;

/// Bits that a root may be indexed by: the small one, and the one that costs 64 MiB and saves two steps for IPv4.
pub const ROOT_BITS: u32 = 16;
pub const LARGE_ROOT_BITS: u32 = 24;
/// Bits that a node is indexed by.
pub const STRIDE: u32 = 4;
/// Entries of a node: an element of the array. The kernel rounds smaller elements up to 8 bytes
/// (`array_map_alloc`, kernel/bpf/arraymap.c), so an array of entries would take twice the memory.
pub const NODE_WORDS: u32 = 1 << STRIDE;
/// An element of the array.
pub type Node = [u32; NODE_WORDS as usize];
/// Nodes on the way from a small root to the last bit of an IPv6 address.
pub const DEPTH: u32 = (128 - ROOT_BITS) / STRIDE;

/// The array that holds a table can be written through memory, and replaces one of another size (5.10).
/// `BPF_F_MMAPABLE | BPF_F_INNER_MAP`.
pub const MAP_FLAGS: u32 = 1 << 10 | 1 << 12;

/// Set in an entry that is the place of a node. Other entries are places of classes, or zero.
pub const NODE: u32 = 1 << 31;

/// What stands where in front of the table.
pub mod head {
    /// Place of the root for IPv4, a multiple of 16, and in its last four bits the eighth part of the root's bits.
    pub const V4_ROOT: u32 = 0;
    /// The same for IPv6.
    pub const V6_ROOT: u32 = 1;
    /// How much is in it, for people: ranges of addresses, and pairs of network and country.
    pub const V4_RANGES: u32 = 2;
    pub const V6_RANGES: u32 = 3;
    pub const CLASSES: u32 = 4;
    /// Words that every table begins with: one element.
    pub const WORDS: u32 = super::NODE_WORDS;
}

/// Words of a class: autonomous system number, country.
pub const CLASS_WORDS: u32 = 2;

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

/// A root's place and size, as the head has it.
pub const fn root(place: u32, bits: u32) -> u32 {
    place | (bits / 8)
}

/// The class of an address; `word` reads the table.
#[expect(clippy::cast_possible_truncation, reason = "its two halves")]
pub fn class_of(address: IpAddr, word: impl Fn(u32) -> Option<u32>) -> Class {
    match address {
        IpAddr::V4(v4) => class(word, head::V4_ROOT, u64::from(v4.to_bits()) << 32, 0),
        IpAddr::V6(v6) => class(word, head::V6_ROOT, (v6.to_bits() >> 64) as u64, v6.to_bits() as u64),
    }
}

/// As [`class_of`], of an address as [`find`] takes it.
#[inline(always)]
pub fn class(word: impl Fn(u32) -> Option<u32>, root: u32, front: u64, back: u64) -> Class {
    let found = find(&word, root, front, back);
    let class = found.and_then(|place| Some(Class { asn: word(place)?, country: word(place + 1)? }));
    class.unwrap_or(Class::UNKNOWN)
}

/// Place of the class of an address, whose two words are in one element. Of the address, its first and its last 64 bits;
/// of an IPv4 one all 32 come first. `word` reads the table.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "indexes of 4 to 24 bits")]
pub fn find(word: impl Fn(u32) -> Option<u32>, root: u32, mut front: u64, mut back: u64) -> Option<u32> {
    let root = word(root)?;
    if root == 0 {
        return None;
    }
    // 16 or 24: the masks are for the verifier.
    let bits = ((root & 15) * 8) & 63;
    let rest = (64 - bits) & 63;
    let mut entry = word((root & !15).wrapping_add((front >> rest) as u32))?;
    front = (front << bits) | (back >> rest);
    back <<= bits;
    for _ in 0..DEPTH {
        if entry & NODE == 0 {
            break;
        }
        entry = word((entry & !NODE).wrapping_add((front >> (64 - STRIDE)) as u32))?;
        front = (front << STRIDE) | (back >> (64 - STRIDE));
        back <<= STRIDE;
    }
    if entry == 0 || entry & NODE != 0 { None } else { Some(entry) }
}
