//! Steering keys: (protocol, edge address, ports) as prefixes of one LPM trie.
//!
//! The port is the last part of the key, big-endian, so a range of ports is a handful of prefixes and a more specific
//! range wins by itself. The kernel's trie compares bytes from the front (`longest_prefix_match`, `kernel/bpf/lpm_trie.c`).

use crate::layout::SteerKey;

/// Bits in front of the address.
pub const PROTOCOL_BITS: u32 = 32;
/// Bits in front of the port: protocol and address.
pub const ADDRESS_BITS: u32 = PROTOCOL_BITS + 128;
/// Bits of a key that names one port.
pub const PORT_BITS: u32 = ADDRESS_BITS + 16;
/// Bits in front of an IPv4 address within the address part.
pub const V4_MAPPED_BITS: u32 = 96;

/// An IPv4 address as the keys carry it: `::ffff:a.b.c.d`.
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// The key that asks for exactly one port.
#[inline(always)]
pub const fn key(protocol: u8, address: [u8; 16], port: [u8; 2]) -> SteerKey {
    SteerKey { zero_front: [0; 3], protocol, address, port, zero: [0; 2] }
}

/// The fewest port prefixes that cover `first..=last` and nothing else: at most 30.
pub fn port_prefixes(first: u16, last: u16) -> PortPrefixes {
    PortPrefixes { next: u32::from(first), end: u32::from(last) + 1 }
}

/// Iterator of [`port_prefixes`].
#[derive(Clone, Debug)]
pub struct PortPrefixes {
    next: u32,
    end: u32,
}

/// Ports that share their first `bits` bits with `port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPrefix {
    pub port: u16,
    pub bits: u32,
}

impl Iterator for PortPrefixes {
    type Item = PortPrefix;

    fn next(&mut self) -> Option<PortPrefix> {
        if self.next >= self.end {
            return None;
        }
        // The largest block that starts here (alignment) and does not go past the end.
        let aligned = if self.next == 0 { 16 } else { self.next.trailing_zeros() };
        let fits = (self.end - self.next).ilog2();
        let size = if aligned < fits { aligned } else { fits };
        // `next` is below `end`, which is at most one past the last port.
        let port = u16::try_from(self.next).ok()?;
        self.next += 1 << size;
        Some(PortPrefix { port, bits: 16 - size })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(first: u16, last: u16) -> Vec<u16> {
        let mut ports: Vec<u16> = port_prefixes(first, last)
            .flat_map(|p| {
                let size = 1u32 << (16 - p.bits);
                (0..size).map(move |i| p.port + u16::try_from(i).unwrap())
            })
            .collect();
        ports.sort_unstable();
        ports
    }

    #[test]
    fn the_whole_port_space_is_sixteen_prefixes_without_port_zero() {
        assert_eq!(port_prefixes(1, u16::MAX).count(), 16);
        assert_eq!(port_prefixes(0, u16::MAX).collect::<Vec<_>>(), [PortPrefix { port: 0, bits: 0 }]);
    }

    #[test]
    fn a_single_port_is_one_prefix() {
        assert_eq!(port_prefixes(22, 22).collect::<Vec<_>>(), [PortPrefix { port: 22, bits: 16 }]);
    }

    #[test]
    fn an_empty_range_has_no_prefix() {
        assert_eq!(port_prefixes(2, 1).count(), 0);
    }

    proptest! {
        #[test]
        fn prefixes_cover_the_range_and_nothing_else(a: u16, b: u16) {
            let (first, last) = (a.min(b), a.max(b));
            prop_assert_eq!(covered(first, last), (first..=last).collect::<Vec<_>>());
            prop_assert!(port_prefixes(first, last).count() <= 30);
        }
    }
}
