//! From an address to a word: a table of nodes, walked by both sides in the same way.
//!
//! A root is indexed by the first bits of the address, and every node behind it by the next four: 16 entries of 4
//! bytes, one line of cache. Where all that is said lies in one part of what an entry stands for, a gate leads there in one
//! step and answers for the rest. So a lookup takes a handful of steps, each in another line of cache, where the kernel's
//! trie takes one for each bit in which prefixes differ (`trie_lookup_elem`, `kernel/bpf/lpm_trie.c`).

use core::net::IpAddr;

use bytemuck::{Pod, Zeroable};

/// Bits that a root may be indexed by: the smallest, the usual one, and the one that costs 64 MiB and saves two steps for
/// IPv4.
pub const SMALL_ROOT_BITS: u32 = 8;
pub const ROOT_BITS: u32 = 16;
pub const LARGE_ROOT_BITS: u32 = 24;
/// Bits that a node is indexed by.
pub const STRIDE: u32 = 4;
/// Entries of a node: an element of the array. The kernel rounds smaller elements up to 8 bytes
/// (`array_map_alloc`, kernel/bpf/arraymap.c), so an array of entries would take twice the memory.
pub const NODE_WORDS: u32 = 1 << STRIDE;
/// An element of the array.
pub type Node = [u32; NODE_WORDS as usize];
/// The array that holds a table can be written through memory, and replaces one of another size (5.10).
/// `BPF_F_MMAPABLE | BPF_F_INNER_MAP`.
pub const MAP_FLAGS: u32 = 1 << 10 | 1 << 12;

/// Set in an entry that is a way on: the place of a node, or of a gate. Other entries are what is said, or zero.
pub const WAY: u32 = 1 << 31;
/// Set beside it: the way is a gate.
pub const GATE: u32 = 1 << 30;
/// The place that a way leads to.
pub const PLACE: u32 = GATE - 1;

/// A condition on an address: whether its next `bits` bits are these. Half an element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Gate {
    /// The bits that follow those that led here, as [`Ahead`].
    pub front: u64,
    pub back: u64,
    /// How many of them count: [`STRIDE`] to 120.
    pub bits: u32,
    /// The entry for addresses that have them, and the one for others.
    pub inside: u32,
    pub outside: u32,
    pub zero: u32,
}

/// Words of a gate.
pub const GATE_WORDS: u32 = 8;
/// Which word of a gate is the entry for addresses inside.
pub const GATE_INSIDE: u32 = 5;

const _: () = assert!(
    size_of::<Gate>() == 4 * GATE_WORDS as usize && core::mem::offset_of!(Gate, inside) == 4 * GATE_INSIDE as usize
);

/// Where a table is read.
pub trait Reader {
    fn word(&self, place: u32) -> Option<u32>;
    /// `place` is a multiple of [`GATE_WORDS`].
    fn gate(&self, place: u32) -> Option<Gate>;
}

/// A root as the head of a table has it: its place, a multiple of 16, and in the last four bits the eighth part of its bits.
pub const fn root(place: u32, bits: u32) -> u32 {
    place | (bits / 8)
}

/// An address as [`find`] takes it: of an IPv4 one all 32 bits come first.
#[expect(clippy::cast_possible_truncation, reason = "two halves")]
pub fn ahead(address: IpAddr) -> Ahead {
    match address {
        IpAddr::V4(v4) => Ahead { front: u64::from(v4.to_bits()) << 32, back: 0 },
        IpAddr::V6(v6) => Ahead { front: (v6.to_bits() >> 64) as u64, back: v6.to_bits() as u64 },
    }
}

/// Bits of an address that are still to be looked at, the next one the highest.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    pub front: u64,
    pub back: u64,
}

impl Ahead {
    /// What is left behind `bits` bits, 127 at most.
    #[inline(always)]
    #[must_use]
    pub const fn behind(self, bits: u32) -> Self {
        let Self { front, back } = self;
        // The masks are for the verifier; a shift in two steps is one of up to 64.
        if bits < 64 {
            let rest = (63 - bits) & 63;
            Self { front: (front << (bits & 63)) | (back >> 1 >> rest), back: back << (bits & 63) }
        } else {
            Self { front: back << ((bits - 64) & 63), back: 0 }
        }
    }

    /// Whether the next bits are those of a gate.
    #[inline(always)]
    pub const fn passes(self, gate: &Gate) -> bool {
        let (front, back) = (self.front ^ gate.front, self.back ^ gate.back);
        if gate.bits <= 64 {
            front >> ((64 - gate.bits) & 63) == 0
        } else {
            front == 0 && back >> ((128 - gate.bits) & 63) == 0
        }
    }

    /// The next `bits` bits as a number, 1 to 24 of them.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "24 bits")]
    pub const fn index(self, bits: u32) -> u32 {
        (self.front >> ((64 - bits) & 63)) as u32
    }
}

/// Steps behind a root that a walk takes at most. Each has at least [`STRIDE`] bits of an address, so 30 lead to its end.
pub const MOST_STEPS: u32 = 64;

/// What a table says of an address, 0 for nothing. `root`: as the head has it, 0 where there is none.
#[inline(always)]
pub fn find(reader: &impl Reader, root: u32, mut ahead: Ahead) -> Option<u32> {
    if root == 0 {
        return None;
    }
    let bits = (root & 15) * 8;
    let mut entry = reader.word((root & !15).wrapping_add(ahead.index(bits)))?;
    ahead = ahead.behind(bits);
    for _ in 0..MOST_STEPS {
        if entry & WAY == 0 {
            return Some(entry);
        }
        if entry & GATE == 0 {
            entry = reader.word((entry & PLACE).wrapping_add(ahead.index(STRIDE)))?;
            ahead = ahead.behind(STRIDE);
        } else {
            let gate = reader.gate(entry & PLACE)?;
            entry = if ahead.passes(&gate) { gate.inside } else { gate.outside };
            ahead = ahead.behind(gate.bits);
        }
    }
    None
}
