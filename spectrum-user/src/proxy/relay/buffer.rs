//! Buffers that belong to a thread and are lent to whoever has bytes to move right now.

use std::cell::RefCell;

use crate::listen::{Admission, Permit};

/// Buffers larger than the smallest that are lent at once by a thread. Beyond, who reads slowly makes do with a small one:
/// memory is bounded in sum, not for each connection alone.
const LARGER: usize = 256;

/// Sizes that a direction grows through as long as its reads come back full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Size {
    #[default]
    Small,
    Medium,
    Large,
}

impl Size {
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Small => 16 << 10,
            Self::Medium => 64 << 10,
            Self::Large => 256 << 10,
        }
    }

    pub(super) const fn larger(self) -> Self {
        match self {
            Self::Small => Self::Medium,
            Self::Medium | Self::Large => Self::Large,
        }
    }

    pub(super) const fn smaller(self) -> Self {
        match self {
            Self::Small | Self::Medium => Self::Small,
            Self::Large => Self::Medium,
        }
    }

    /// How many a thread keeps for later: what it needs for the connections it serves in one turn, not more.
    const fn kept(self) -> usize {
        match self {
            Self::Small => 64,
            Self::Medium => 16,
            Self::Large => 4,
        }
    }
}

/// The free buffers of one thread.
#[derive(Debug)]
pub(super) struct Buffers {
    larger: Admission,
    small: RefCell<Vec<Box<[u8]>>>,
    medium: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
}

/// A buffer with the bytes that were read and not yet written.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    size: Size,
    start: usize,
    end: usize,
    _permit: Option<Permit>,
}

impl Default for Buffers {
    fn default() -> Self {
        let (small, medium, large) = Default::default();
        Self { larger: Admission::new(LARGER), small, medium, large }
    }
}

impl Buffers {
    /// One of this size, or of the smallest where too many are lent.
    pub(super) fn take(&self, size: Size) -> Buffer {
        let permit = if size == Size::Small { None } else { self.larger.enter() };
        let size = if permit.is_some() { size } else { Size::Small };
        let free = self.free(size).borrow_mut().pop();
        let bytes = free.unwrap_or_else(|| vec![0; size.bytes()].into_boxed_slice());
        Buffer { bytes, size, start: 0, end: 0, _permit: permit }
    }

    pub(super) fn give_back(&self, buffer: Buffer) {
        let mut free = self.free(buffer.size).borrow_mut();
        if free.len() < buffer.size.kept() {
            free.push(buffer.bytes);
        }
    }

    const fn free(&self, size: Size) -> &RefCell<Vec<Box<[u8]>>> {
        match size {
            Size::Small => &self.small,
            Size::Medium => &self.medium,
            Size::Large => &self.large,
        }
    }
}

impl Buffer {
    pub(super) const fn size(&self) -> Size {
        self.size
    }

    pub(super) fn unwritten(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    pub(super) const fn wrote(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// The whole room. Only for an empty buffer.
    pub(super) fn room(&mut self) -> &mut [u8] {
        debug_assert!(self.is_empty(), "bytes would be overwritten");
        &mut self.bytes
    }

    pub(super) const fn filled(&mut self, bytes: usize) {
        self.start = 0;
        self.end = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_no_more_than_it_needs() {
        let buffers = Buffers::default();
        let many: Vec<Buffer> = (0..20).map(|_| buffers.take(Size::Large)).collect();
        for buffer in many {
            buffers.give_back(buffer);
        }
        assert_eq!(buffers.large.borrow().len(), Size::Large.kept());
        assert!(buffers.small.borrow().is_empty());
    }

    #[test]
    fn many_who_hold_large_ones_leave_small_ones_for_others() {
        let buffers = Buffers::default();
        let many: Vec<Buffer> = (0..LARGER).map(|_| buffers.take(Size::Large)).collect();
        assert!(many.iter().all(|buffer| buffer.size() == Size::Large));
        assert_eq!(buffers.take(Size::Medium).size(), Size::Small);
        drop(many);
        assert_eq!(buffers.take(Size::Medium).size(), Size::Medium);
    }
}
