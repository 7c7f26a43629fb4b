//! The table of networks and countries that `spectrum_common::geo` describes, as it is built and read here.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use spectrum_common::{
    geo::{Class, class_of, head},
    table::{Gate, LARGE_ROOT_BITS, NODE_WORDS, PLACE, ROOT_BITS, Reader, STRIDE, WAY, root},
};

use super::{
    DatabaseError,
    steps::{Address, Disordered, Steps},
};

/// From every address to its class, in the small form.
#[derive(Clone, Debug, Default)]
pub struct Table {
    words: Vec<u32>,
    counts: Counts,
}

/// How much is in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ranges of addresses that have one class, and neighbours that have another.
    pub v4: usize,
    pub v6: usize,
    /// Pairs of network and country.
    pub classes: usize,
}

/// A hostile file could ask for a path of its own to each of millions of addresses.
const MOST_WORDS: usize = 64 << 20;
const WORD: usize = size_of::<u32>();

impl Table {
    /// A table of networks that ascend and do not overlap.
    pub fn of(networks: &[(IpNet, Class)]) -> Result<Self, DatabaseError> {
        let (mut v4, mut v6) = (Steps::default(), Steps::default());
        for (network, class) in networks {
            let (steps, first) = match network.network() {
                IpAddr::V4(first) => (&mut v4, Address::from(first.to_bits()) << 96),
                IpAddr::V6(first) => (&mut v6, first.to_bits()),
            };
            let bits = u32::from(network.prefix_len());
            steps.push(first, bits, Some(*class)).map_err(|Disordered| DatabaseError::Disordered)?;
        }
        Self::build(&v4.end(), &v6.end())
    }

    pub(super) fn build(v4: &Steps<Option<Class>>, v6: &Steps<Option<Class>>) -> Result<Self, DatabaseError> {
        let mut builder = Builder { words: vec![0; head::WORDS as usize] };
        let mut classes = HashMap::new();
        for class in v4.iter().chain(v6.iter()).filter_map(|(_, class)| class) {
            if let std::collections::hash_map::Entry::Vacant(vacant) = classes.entry(class) {
                vacant.insert(builder.place()?);
                builder.words.extend([class.asn, class.country]);
            }
        }
        builder.align();
        let mut counts = Counts { classes: classes.len(), ..Counts::default() };
        for (slot, steps, count) in [(head::V4_ROOT, v4, &mut counts.v4), (head::V6_ROOT, v6, &mut counts.v6)] {
            let place = builder.room(1 << ROOT_BITS)?;
            builder.set(slot, root(place, ROOT_BITS));
            for (first, last, class) in steps.ranges() {
                if let Some(entry) = class.and_then(|class| classes.get(&class)) {
                    *count += 1;
                    builder.fill(place, 128 - ROOT_BITS, first, last, *entry)?;
                }
            }
        }
        for (slot, count) in
            [(head::V4_RANGES, counts.v4), (head::V6_RANGES, counts.v6), (head::CLASSES, counts.classes)]
        {
            builder.set(slot, u32::try_from(count).unwrap_or(u32::MAX));
        }
        Ok(Self { words: builder.words, counts })
    }

    /// Network and country of a canonical address.
    pub fn class(&self, address: IpAddr) -> Class {
        class_of(address, &InMemory(&self.words))
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The table as the kernel reads it, in its small form.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The same with a large root for IPv4 behind it.
    pub fn full(&self) -> Full<'_> {
        Full { table: self }
    }
}

/// A table as it lies in memory.
pub(super) struct InMemory<'a>(pub(super) &'a [u32]);

impl Reader for InMemory<'_> {
    fn word(&self, place: u32) -> Option<u32> {
        self.0.get(place as usize).copied()
    }

    /// There are none in this one.
    fn gate(&self, _: u32) -> Option<Gate> {
        None
    }
}

/// A table whose root for IPv4 has an entry for each /24.
pub struct Full<'a> {
    table: &'a Table,
}

impl Full<'_> {
    pub fn words(&self) -> usize {
        self.table.words.len().next_multiple_of(NODE_WORDS as usize) + (1 << LARGE_ROOT_BITS)
    }

    /// Writes it to where the kernel will read it: the table, then the large root.
    pub fn write(&self, words: &mut [u32]) {
        let small = &self.table.words;
        let Some((front, large)) = words.split_at_mut_checked(small.len().next_multiple_of(NODE_WORDS as usize)) else {
            return;
        };
        for (to, from) in front.iter_mut().zip(small) {
            *to = *from;
        }
        let place = u32::try_from(front.len()).unwrap_or_default();
        let word = |place: u32| small.get(place as usize).copied().unwrap_or_default();
        let small_root = word(head::V4_ROOT) & !15;
        for (to, index) in large.iter_mut().zip(0_u32..) {
            let mut entry = word(small_root + (index >> (LARGE_ROOT_BITS - ROOT_BITS)));
            for rest in (0..LARGE_ROOT_BITS - ROOT_BITS).step_by(STRIDE as usize).rev() {
                if entry & WAY == 0 {
                    break;
                }
                entry = word((entry & PLACE) + (index >> rest & (NODE_WORDS - 1)));
            }
            *to = entry;
        }
        if let Some(slot) = front.get_mut(head::V4_ROOT as usize) {
            *slot = root(place, LARGE_ROOT_BITS);
        }
    }
}

struct Builder {
    words: Vec<u32>,
}

impl Builder {
    /// Where the next word goes.
    fn place(&self) -> Result<u32, DatabaseError> {
        let too_wide = DatabaseError::TooWide { most: MOST_WORDS * WORD };
        if self.words.len() > MOST_WORDS {
            Err(too_wide)
        } else {
            u32::try_from(self.words.len()).map_err(|_| too_wide)
        }
    }

    fn align(&mut self) {
        self.words.resize(self.words.len().next_multiple_of(NODE_WORDS as usize), 0);
    }

    fn room(&mut self, words: usize) -> Result<u32, DatabaseError> {
        let place = self.place()?;
        self.words.resize(self.words.len() + words, 0);
        Ok(place)
    }

    fn get(&self, place: u32) -> u32 {
        self.words.get(place as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, place: u32, word: u32) {
        if let Some(slot) = self.words.get_mut(place as usize) {
            *slot = word;
        }
    }

    /// Makes `class` the entry of `first..=last` in the node at `base`, whose entries span 2^`below` addresses each.
    fn fill(&mut self, base: u32, below: u32, first: Address, last: Address, class: u32) -> Result<(), DatabaseError> {
        let rest = (1 << below) - 1;
        for index in first >> below..=last >> below {
            let (start, end) = (index << below, index << below | rest);
            let place = base + u32::try_from(index).unwrap_or_default();
            if first <= start && end <= last {
                self.set(place, class);
                continue;
            }
            let node = self.node(place)?;
            let (first, last) = (first.max(start) & rest, last.min(end) & rest);
            self.fill(node, below - STRIDE, first, last, class)?;
        }
        Ok(())
    }

    /// The node that an entry leads to; made, where it is not one yet, to say what the entry said.
    fn node(&mut self, place: u32) -> Result<u32, DatabaseError> {
        let entry = self.get(place);
        if entry & WAY != 0 {
            return Ok(entry & PLACE);
        }
        let node = self.room(NODE_WORDS as usize)?;
        for slot in node..node + NODE_WORDS {
            self.set(slot, entry);
        }
        self.set(place, node | WAY);
        Ok(node)
    }
}
