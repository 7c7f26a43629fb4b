//! Tables that userspace lays out, as the programs read them.

use spectrum_common::table::{GATE_WORDS, Gate, NODE_WORDS, Reader};

use crate::{maps::Table, words::masked};

/// A table that a program has got hold of: whatever takes its place, this one stays until the program ends.
pub(crate) struct Kernel(pub(crate) &'static Table);

impl Reader for Kernel {
    #[inline(always)]
    fn word(&self, place: u32) -> Option<u32> {
        const MASK: usize = NODE_WORDS as usize - 1;
        let node = self.0.get_ptr(place / NODE_WORDS)?;
        // SAFETY: an element has 16 words.
        let word = unsafe { node.cast::<u32>().add(masked::<MASK>(place as usize)) };
        // SAFETY: the map returned the element. Userspace writes whole words.
        Some(unsafe { *word })
    }

    #[inline(always)]
    fn gate(&self, place: u32) -> Option<Gate> {
        const MASK: usize = NODE_WORDS as usize - GATE_WORDS as usize;
        let node = self.0.get_ptr(place / NODE_WORDS)?;
        // SAFETY: an element has room for two gates, and the mask leaves the first word of one of them.
        let gate = unsafe { node.cast::<u32>().add(masked::<MASK>(place as usize)) };
        // SAFETY: the map returned the element, aligned to eight bytes. Of a gate that can be met userspace writes one word.
        Some(unsafe { *gate.cast() })
    }
}
