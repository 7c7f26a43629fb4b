//! Where the words of a table are kept: in a draft, and where the programs read them.

use std::sync::atomic::{AtomicU32, Ordering};

use spectrum_common::{rule_table::HEAD_WORDS, table::NODE_WORDS};

use super::nodes::{NoRoom, Words};

/// A table that grows, and that nobody reads yet.
pub(super) struct Draft {
    pub(super) words: Vec<u32>,
    /// How many there may be.
    pub(super) most: usize,
}

impl Default for Draft {
    fn default() -> Self {
        Self { words: vec![0; HEAD_WORDS as usize], most: 0 }
    }
}

impl Words for Draft {
    fn get(&self, place: u32) -> u32 {
        self.words.get(place as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, place: u32, word: u32) {
        if let Some(slot) = self.words.get_mut(place as usize) {
            *slot = word;
        }
    }

    fn room(&mut self, words: u32) -> Result<u32, NoRoom> {
        let place = self.words.len().next_multiple_of(words.min(NODE_WORDS) as usize);
        let end = place + words as usize;
        if end > self.most {
            return Err(NoRoom);
        }
        self.words.resize(end, 0);
        u32::try_from(place).map_err(|_| NoRoom)
    }
}

/// The table that programs read.
pub(super) struct Live<'a> {
    pub(super) words: &'a [AtomicU32],
    pub(super) used: &'a mut u32,
}

impl Words for Live<'_> {
    fn get(&self, place: u32) -> u32 {
        self.words.get(place as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set(&mut self, place: u32, word: u32) {
        if let Some(slot) = self.words.get(place as usize) {
            slot.store(word, Ordering::Release);
        }
    }

    fn room(&mut self, words: u32) -> Result<u32, NoRoom> {
        let place = self.used.next_multiple_of(words.min(NODE_WORDS));
        let end = place.checked_add(words).filter(|end| *end as usize <= self.words.len()).ok_or(NoRoom)?;
        *self.used = end;
        Ok(place)
    }
}
