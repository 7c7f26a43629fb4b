//! Who of an application's sources goes on when there is not room for all of them.
//!
//! Two limits, both optional. *Per source*: nobody has more, whatever the others do. *In all*: while more is asked for,
//! every source, and every network of sources, has an equal share, and what the modest ones leave is for the others
//! (max-min fairness). The share is found by trial, as in core-stateless fair queueing (Stoica, Shenker and Zhang, 1998):
//! what a share lets through is a concave function of it, so `share * total / passed` comes closer in every window, from
//! below and from above.
//!
//! Only what passes is counted, so a source that sends too much has its share, and not nothing.

use bytemuck::{Pod, Zeroable};

use crate::sketch::{self, Cells, is_same};

/// No limit: what is not written yet refuses nothing.
pub const UNLIMITED: u32 = 0;

/// What an application grants, in packets for each window of [`sketch::window`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Limits {
    pub per_source: u32,
    pub total: u32,
}

/// How an application's room is shared out at the moment. All zero: nothing has been asked for.
///
/// CPUs share it without locks: an increment that is lost lets one packet more through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Share {
    window: u32,
    /// What had a share left, in this window.
    asked: u32,
    /// Of that, what went on.
    passed: u32,
    /// Sources that were counted for the first time in this window.
    new: u32,
    /// What one source may have.
    each: u32,
}

/// Who sends, in bits that tell sources of both families apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// An IPv4 address, or the first 64 bits of an IPv6 one.
    pub host: u64,
    /// The first 24 bits, or the first 48.
    pub network: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Pass,
    /// This source has had what it may have.
    SourceOver,
    /// There is no room at all.
    TotalOver,
}

/// How many sources' shares a network may have: /24, /48.
const NETWORK: u32 = 8;
/// A source that has had less than this part of the room is small. Small ones still find a place when the room is full:
/// a flood that has just begun, and has taken all of it before the share is found, is not at their expense.
const SMALL: u32 = 16;
/// As much more than the whole as is there for the small ones.
const RESERVE: u32 = 4;
/// The part of the room that a share leaves free.
const SLACK: u32 = 64;
/// Sources that one application brings into the sketch in a window. What comes after them is let through uncounted:
/// they are forged, and would fill the cells that other applications' sources have too.
const MOST_NEW: u32 = 1 << 14;

/// Judges one packet, and counts it if it goes on.
#[inline(always)]
pub fn judge(
    share: &mut Share,
    limits: Limits,
    cells: &mut impl Cells,
    source: Source,
    (seed, app): (u64, u32),
    window: u32,
) -> Judgement {
    share.roll(limits.total, window);
    // Two keys of the sketch that cannot be mistaken for each other.
    let host_at = sketch::places(seed, u64::from(app), source.host);
    let host = sketch::seen(cells, host_at, window);
    if limits.per_source != UNLIMITED && host >= limits.per_source {
        return Judgement::SourceOver;
    }
    let is_new = host == 0;
    if limits.total != UNLIMITED {
        let network_at = sketch::places(seed, 1 << 32 | u64::from(app), source.network);
        let network = sketch::seen(cells, network_at, window);
        if let Err(refused) = share.take(limits.total, host, network) {
            return refused;
        }
        if is_new && share.new >= MOST_NEW {
            return Judgement::Pass;
        }
        sketch::count(cells, network_at, window, network);
    } else if is_new && share.new >= MOST_NEW {
        return Judgement::Pass;
    }
    share.new += u32::from(is_new);
    sketch::count(cells, host_at, window, host);
    Judgement::Pass
}

impl Share {
    /// Begins a new window, if it is one, with a share that the last one has shown to be right.
    #[inline(always)]
    fn roll(&mut self, total: u32, window: u32) {
        if is_same(self.window, window) {
            return;
        }
        let follows = window.wrapping_sub(self.window) == 1;
        let each = if follows && self.each != 0 { self.better(total) } else { total };
        *self = Self { window, asked: 0, passed: 0, new: 0, each };
    }

    /// The share that would have let through what there is room for.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no more than `total`")]
    fn better(&self, total: u32) -> u32 {
        // A little room is left, or shares of whole packets would swing about the last one.
        let aim = total - total / SLACK;
        let (share, asked) = (u64::from(self.each), u64::from(self.asked));
        let better = if self.asked <= aim {
            share * u64::from(total) / if asked == 0 { 1 } else { asked }
        } else if self.asked <= total {
            share
        } else {
            // While the room was full, nothing was counted against a share, so too much asked: not too fast.
            let better = share * u64::from(aim) / asked;
            if better < share / 2 { share / 2 } else { better }
        };
        match better {
            0 => 1,
            better if better < u64::from(total) => better as u32,
            _ => total,
        }
    }

    /// Takes a place for a packet of a source that has had `host` in this window, and its network `network`.
    #[inline(always)]
    fn take(&mut self, total: u32, host: u32, network: u32) -> Result<(), Judgement> {
        if host >= self.each || network / NETWORK >= self.each {
            return Err(Judgement::SourceOver);
        }
        self.asked = self.asked.saturating_add(1);
        let is_small = host <= total / SMALL && network <= total / RESERVE;
        let places = if is_small { total.saturating_add(total / RESERVE) } else { total };
        if self.passed >= places {
            return Err(Judgement::TotalOver);
        }
        self.passed += 1;
        Ok(())
    }
}

#[cfg(test)]
#[path = "fair_tests.rs"]
mod tests;
