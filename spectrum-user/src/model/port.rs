//! Ports and ranges of them.

use std::{fmt, num::NonZeroU16};

/// One or more consecutive ports, never port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: NonZeroU16,
    last: NonZeroU16, // Invariant: first <= last.
}

/// Why two numbers are not a port range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPortRange {
    #[error("ports go from 1 to 65535")]
    Zero,
    #[error("the range {first}-{last} is upside down")]
    UpsideDown { first: u16, last: u16 },
}

impl PortRange {
    pub fn new(first: u16, last: u16) -> Result<Self, InvalidPortRange> {
        let (Some(low), Some(high)) = (NonZeroU16::new(first), NonZeroU16::new(last)) else {
            return Err(InvalidPortRange::Zero);
        };
        if low > high {
            return Err(InvalidPortRange::UpsideDown { first, last });
        }
        Ok(Self { first: low, last: high })
    }

    pub fn single(port: u16) -> Result<Self, InvalidPortRange> {
        Self::new(port, port)
    }

    pub const fn first(self) -> u16 {
        self.first.get()
    }

    pub const fn last(self) -> u16 {
        self.last.get()
    }

    /// How many ports, 1 to 65535.
    pub const fn count(self) -> u32 {
        self.last() as u32 - self.first() as u32 + 1
    }

    pub const fn contains(self, port: u16) -> bool {
        self.first() <= port && port <= self.last()
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The port of `onto` that stands where `port` stands in this range: 1005 of 1000-2000 is 3005 of 3000-4000.
    ///
    /// None where `port` is outside, or `onto` is too short.
    pub fn map(self, port: u16, onto: Self) -> Option<u16> {
        if !self.contains(port) {
            return None;
        }
        let mapped = onto.first().checked_add(port - self.first())?;
        onto.contains(mapped).then_some(mapped)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_by_offset() {
        let edge = PortRange::new(1000, 2000).unwrap();
        let origin = PortRange::new(3000, 4000).unwrap();
        assert_eq!(edge.map(1000, origin), Some(3000));
        assert_eq!(edge.map(1005, origin), Some(3005));
        assert_eq!(edge.map(2000, origin), Some(4000));
        assert_eq!(edge.map(999, origin), None);
        assert_eq!(edge.map(2001, origin), None);
    }

    #[test]
    fn never_maps_past_a_shorter_range() {
        let edge = PortRange::new(1, 65535).unwrap();
        assert_eq!(edge.map(65535, PortRange::new(2, 65535).unwrap()), None);
    }

    #[test]
    fn refuses_port_zero_and_upside_down() {
        assert_eq!(PortRange::new(0, 5), Err(InvalidPortRange::Zero));
        assert_eq!(PortRange::new(6, 5), Err(InvalidPortRange::UpsideDown { first: 6, last: 5 }));
    }
}
