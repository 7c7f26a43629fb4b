//! How prefixes and what they say become the nodes of a table. Pure: words are kept elsewhere.

use spectrum_common::table::{GATE, GATE_INSIDE, GATE_WORDS, Gate, NODE_WORDS, PLACE, STRIDE, WAY};

/// An address, its first bit the highest; one of IPv4 is the first 32 bits.
pub(super) type Address = u128;
const ADDRESS_BITS: u32 = Address::BITS;

/// A prefix, and the entry for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
    pub(super) span: Span,
    pub(super) entry: u32,
}

/// A range of addresses that begin with the same bits. Sorts what covers another before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) first: Address,
    pub(super) bits: u32,
}

impl Span {
    /// The addresses that begin as `address` does, for `bits` bits.
    pub(super) fn at(address: Address, bits: u32) -> Self {
        Self { first: address & !rest(bits), bits }
    }

    fn last(self) -> Address {
        self.first | rest(self.bits)
    }

    /// What of these addresses passes a gate.
    fn through(self, gate: &Gate) -> Self {
        let next = Address::from(gate.front) << 64 | Address::from(gate.back);
        Self::at(self.first | next >> self.bits, self.bits + gate.bits)
    }

    /// The gate from these addresses to those of `inside`.
    fn gate(self, inside: Self, entry: u32, outside: u32) -> Gate {
        let next = (inside.first & rest(self.bits)) << self.bits;
        let [front, back] =
            [next >> 64, next & Address::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or_default());
        Gate { front, back, bits: inside.bits - self.bits, inside: entry, outside, zero: 0 }
    }

    pub(super) fn covers(self, other: Self) -> bool {
        self.bits <= other.bits && Self::at(other.first, self.bits) == self
    }
}

/// The bits of an address behind the first so many.
fn rest(bits: u32) -> Address {
    Address::MAX.checked_shr(bits).unwrap_or(0)
}

/// There is no room for another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// Where the words of a table are kept.
pub(super) trait Words {
    fn get(&self, place: u32) -> u32;

    /// A packet may read the word at any moment, and what it leads to is written before.
    fn set(&mut self, place: u32, word: u32);

    /// The place of so many words that are zero and that nobody reads: a multiple of as many.
    fn room(&mut self, words: u32) -> Result<u32, NoRoom>;

    fn gate(&self, place: u32) -> Gate {
        let mut words = [0; GATE_WORDS as usize];
        words.iter_mut().zip(place..).for_each(|(word, place)| *word = self.get(place));
        bytemuck::cast(words)
    }

    fn put_gate(&mut self, place: u32, gate: Gate) {
        let words: [u32; GATE_WORDS as usize] = bytemuck::cast(gate);
        words.into_iter().zip(place..).for_each(|(word, place)| self.set(place, word));
    }
}

/// A root or a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Place of its first entry.
    pub(super) base: u32,
    /// Bits of an address that led here, and bits that it is indexed by.
    pub(super) above: u32,
    pub(super) index: u32,
}

impl Level {
    /// How long the prefixes are that its entries stand for.
    fn below(self) -> u32 {
        self.above + self.index
    }

    /// Place of the entry for an address.
    fn place(self, address: Address) -> u32 {
        let index = address.checked_shl(self.above).unwrap_or(0) >> (ADDRESS_BITS - self.index);
        self.base + u32::try_from(index).unwrap_or_default()
    }
}

/// What has to be written anew.
#[derive(Clone, Copy, Debug)]
pub(super) enum Concerned {
    /// One entry, and what it stands for.
    Entry { place: u32, span: Span },
    /// Several of one level.
    Entries { level: Level, span: Span },
}

/// Where a change of a prefix is to be written: as deep as may be, so that little else is written with it.
pub(super) fn concerned(words: &impl Words, root: Level, changed: Span) -> Concerned {
    let mut level = root;
    while changed.bits >= level.below() {
        let mut place = level.place(changed.first);
        let mut span = Span::at(changed.first, level.below());
        let mut entry = words.get(place);
        while entry & WAY != 0 && entry & GATE != 0 {
            let gate = entry & PLACE;
            let inside = span.through(&words.gate(gate));
            if !inside.covers(changed) {
                break;
            }
            (place, span, entry) = (gate + GATE_INSIDE, inside, words.get(gate + GATE_INSIDE));
        }
        if entry & WAY == 0 || entry & GATE != 0 || changed.bits == span.bits {
            return Concerned::Entry { place, span };
        }
        level = Level { base: entry & PLACE, above: span.bits, index: STRIDE };
    }
    Concerned::Entries { level, span: changed }
}

/// Writes what is concerned. `said`: all prefixes within it, sorted; `base`: what is said where none of them speaks.
pub(super) fn lay(words: &mut impl Words, concerned: Concerned, said: &[Said], base: u32) -> Result<(), NoRoom> {
    match concerned {
        Concerned::Entry { place, span } => {
            let entry = entry(words, span, said, base)?;
            words.set(place, entry);
            Ok(())
        }
        Concerned::Entries { level, span } => fill(words, level, span, said, base),
    }
}

/// Writes the entries of `level` for the addresses of `span`. `said`: all prefixes within it, sorted; `base`: what is said
/// where none of them speaks.
fn fill(words: &mut impl Words, level: Level, span: Span, said: &[Said], base: u32) -> Result<(), NoRoom> {
    let below = level.below();
    let mut covering: Vec<Said> = Vec::new();
    let mut rest_said = said;
    let mut first = span.first;
    loop {
        let own = Span { first, bits: below };
        // Prefixes of several entries begin where an entry does, and come before those within it.
        while let Some((wide, others)) = rest_said.split_first()
            && wide.span.bits < below
            && wide.span.first <= first
        {
            covering.push(*wide);
            rest_said = others;
        }
        while covering.pop_if(|wide| !wide.span.covers(own)).is_some() {}
        let within = rest_said.partition_point(|said| said.span.first <= own.last());
        let (inside, others) = rest_said.split_at(within);
        rest_said = others;
        let inherited = covering.last().map_or(base, |wide| wide.entry);
        let entry = entry(words, own, inside, inherited)?;
        words.set(level.place(first), entry);
        match own.last().checked_add(1) {
            Some(next) if next <= span.last() => first = next,
            _ => return Ok(()),
        }
    }
}

/// The entry for the addresses of `span`: what is said of all of them, or a new way.
fn entry(words: &mut impl Words, span: Span, said: &[Said], inherited: u32) -> Result<u32, NoRoom> {
    let (inherited, within) = match said.split_first() {
        Some((own, within)) if own.span.bits == span.bits => (own.entry, within),
        _ => (inherited, said),
    };
    let (Some(first), Some(last)) = (within.first(), within.last()) else { return Ok(inherited) };
    // All of them lie within what they have in common.
    let shortest = within.iter().map(|said| said.span.bits).min().unwrap_or_default();
    let common = (first.span.first ^ last.span.first).leading_zeros().min(shortest);
    // No step may be shorter than a node's: a way would grow longer than it is walked (`MOST_STEPS`).
    if common >= span.bits + STRIDE {
        let inside = Span::at(first.span.first, common);
        let place = words.room(GATE_WORDS)?;
        let entry = entry(words, inside, within, inherited)?;
        words.put_gate(place, span.gate(inside, entry, inherited));
        return Ok(place | WAY | GATE);
    }
    let base = words.room(NODE_WORDS)?;
    fill(words, Level { base, above: span.bits, index: STRIDE }, span, within, inherited)?;
    Ok(base | WAY)
}
