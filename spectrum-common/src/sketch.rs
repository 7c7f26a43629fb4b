//! How often a key was seen in the running second, roughly and in fixed memory: a count-min sketch whose cells forget.
//!
//! Each row has one cell for a key, chosen by a hash that nobody outside can compute. Cells are shared, so a count may be
//! too high, never too low; the lowest over the rows is the best that is known. Whoever sends from a million forged
//! addresses changes numbers in here, and makes nothing grow.
//!
//! Time comes in windows of 2^30 ns, a second and a bit. A cell that was last written in an older window counts nothing:
//! no timer clears it.

use bytemuck::{Pod, Zeroable};

pub const ROWS: usize = 2;
/// Cells of a row: a power of two. Both rows are 2 MiB.
pub const WIDTH: usize = 1 << 17;

/// One counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Cell {
    window: u32,
    count: u32,
}

impl Cell {
    #[inline(always)]
    pub const fn count(&self, window: u32) -> u32 {
        if is_same(self.window, window) { self.count } else { 0 }
    }

    /// Counts at least `to`.
    #[inline(always)]
    pub const fn raise(&mut self, window: u32, to: u32) {
        if !is_same(self.window, window) {
            *self = Self { window, count: to };
        } else if self.count < to {
            self.count = to;
        }
    }
}

/// Where the cells are: a map in the kernel.
pub trait Cells {
    /// `at` is below `ROWS * WIDTH`.
    fn count(&self, at: u32, window: u32) -> u32;
    fn raise(&mut self, at: u32, window: u32, to: u32);
}

/// The window of a moment, given in monotonic nanoseconds.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "windows are compared, and wrap after a century")]
pub const fn window(now_ns: u64) -> u32 {
    (now_ns >> WINDOW_SHIFT) as u32
}

/// How many packets of a rate there are in one window: at least one.
#[expect(clippy::cast_possible_truncation, reason = "bounded by u32::MAX - 1 above")]
pub const fn per_window(per_second: u32) -> u32 {
    let packets = ((per_second as u64) << WINDOW_SHIFT) / 1_000_000_000;
    match packets {
        0 => 1,
        packets if packets < u32::MAX as u64 => packets as u32,
        _ => u32::MAX - 1,
    }
}

const WINDOW_SHIFT: u32 = 30;

/// Whether a moment of `window` belongs to what was written in `stored`. Clocks of two CPUs differ by a little: one of
/// them may still be in the window before.
#[inline(always)]
pub(crate) const fn is_same(stored: u32, window: u32) -> bool {
    let ahead = window.wrapping_sub(stored);
    ahead == 0 || ahead == u32::MAX
}

/// The cell of a key in each row.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "both halves of the hash are used, one for each row")]
pub const fn places(seed: u64, owner: u64, source: u64) -> [u32; ROWS] {
    const MASK: u32 = WIDTH as u32 - 1;
    let hash = mix(mix(seed ^ owner) ^ source);
    [hash as u32 & MASK, WIDTH as u32 + ((hash >> 32) as u32 & MASK)]
}

/// The most that a key can have been seen in this window.
#[inline(always)]
pub fn seen(cells: &impl Cells, [first, second]: [u32; ROWS], window: u32) -> u32 {
    let (first, second) = (cells.count(first, window), cells.count(second, window));
    if first < second { first } else { second }
}

/// Counts a key that had been seen `seen` times. A cell that says more already is left alone: the noise is another's.
#[inline(always)]
pub fn count(cells: &mut impl Cells, places: [u32; ROWS], window: u32, seen: u32) {
    for at in places {
        cells.raise(at, window, seen.saturating_add(1));
    }
}

/// The finalizer of `MurmurHash3` (64 bits): every bit of the input changes every bit of the output half of the time.
#[inline(always)]
const fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
#[path = "sketch_tests.rs"]
pub(crate) mod tests;
