//! What the XDP program costs per packet, by test run of the very object the product loads.
//!
//! Two figures each, both beside an empty program's on the same frames. *Hot*: one frame a million times, the best any
//! cache can do. *Cold*: 65,536 frames of as many sources, once each by a system call of its own, so that neither the
//! tries nor the branch predictor know what comes. Every run is checked: the verdict is the expected one, and counted
//! under the expected reason.

mod frames;
pub(crate) mod networks;
mod program;

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, ensure};
use spectrum_common::Reason;
use spectrum_tests::test_run;

use crate::bpf::{self, XDP_DROP, XDP_PASS, XDP_TX};
use crate::stats::Random;
pub(crate) use frames::syn;
use frames::{Path, Sources};
pub(crate) use program::Program;

/// Access rules that are loaded.
pub(crate) const RULES: usize = 10_000;
/// Different sources of the cold runs.
pub(crate) const SOURCES: usize = 65_536;
const HOT_REPEAT: u32 = 1_000_000;

/// What a packet of one kind costs.
pub(crate) struct Cost {
    pub(crate) title: &'static str,
    /// Nanoseconds, one value per round.
    pub(crate) hot: Vec<f64>,
    pub(crate) cold: Vec<f64>,
    /// The same of an empty program with the same answer, on the same frames.
    pub(crate) hot_empty: Vec<f64>,
    pub(crate) cold_empty: Vec<f64>,
}

/// Measures every path through the program, in `rounds` interleaved rounds.
pub(crate) fn run(rounds: u32, quick: bool) -> Result<Vec<Cost>> {
    let mut random = Random(1);
    let sources = Sources::new(RULES, SOURCES, &mut random);
    let program = Program::load(&sources).context("load Spectrum's XDP program")?;
    let (pass, drop) = (bpf::load_constant(XDP_PASS)?, bpf::load_constant(XDP_DROP)?);
    let paths: Vec<(Path, Vec<Vec<u8>>)> = Path::ALL.into_iter().map(|path| (path, path.frames(&sources))).collect();
    let mut costs: Vec<Cost> = Path::ALL.into_iter().map(Cost::new).collect();
    let repeat = if quick { HOT_REPEAT / 10 } else { HOT_REPEAT };
    for round in 0..rounds {
        eprintln!("round {} of {rounds}: XDP cost", round + 1);
        for ((path, frames), cost) in paths.iter().zip(&mut costs) {
            let (action, hot): (i32, Hot) = match path.reason() {
                Reason::Blocked => (XDP_DROP, hot),
                // A frame is its own answer afterwards, and no request any more: each run needs a fresh one.
                Reason::SynCookie => (XDP_TX, hot_afresh),
                _ => (XDP_PASS, hot),
            };
            let (empty, empty_action) = if action == XDP_DROP { (&drop, XDP_DROP) } else { (&pass, XDP_PASS) };
            let before = program.counted(path.reason())?;
            let (nanoseconds, runs) = hot(program.descriptor(), frames, action, repeat)?;
            cost.hot.push(nanoseconds);
            cost.cold.push(cold(program.descriptor(), frames, action)?);
            let counted = program.counted(path.reason())? - before;
            let expected = runs + frames.len() as u64;
            ensure!(counted == expected, "{}: {counted} of {expected} packets counted as it", cost.title);
            cost.hot_empty.push(hot(empty.as_fd(), frames, empty_action, repeat)?.0);
            cost.cold_empty.push(cold(empty.as_fd(), frames, empty_action)?);
        }
    }
    Ok(costs)
}

impl Cost {
    fn new(path: Path) -> Self {
        let none = Vec::new;
        Self { title: path.title(), hot: none(), cold: none(), hot_empty: none(), cold_empty: none() }
    }
}

/// Nanoseconds for one run, and how many runs there were.
type Hot = fn(BorrowedFd<'_>, &[Vec<u8>], i32, u32) -> Result<(f64, u64)>;

fn hot(program: BorrowedFd<'_>, frames: &[Vec<u8>], action: i32, repeat: u32) -> Result<(f64, u64)> {
    let frame = frames.first().context("a path has frames")?;
    Ok((f64::from(one(program, frame, action, repeat)?), u64::from(repeat)))
}

/// As [`hot`], by a system call for each run; the clock's own cost is in it.
fn hot_afresh(program: BorrowedFd<'_>, frames: &[Vec<u8>], action: i32, _: u32) -> Result<(f64, u64)> {
    let frame = frames.first().context("a path has frames")?;
    let same = vec![frame.clone(); frames.len()];
    Ok((cold(program, &same, action)?, same.len() as u64))
}

fn cold(program: BorrowedFd<'_>, frames: &[Vec<u8>], action: i32) -> Result<f64> {
    let mut sum = 0.0;
    let mut count = 0.0;
    for frame in frames {
        sum += f64::from(one(program, frame, action, 1)?);
        count += 1.0;
    }
    Ok(sum / count)
}

fn one(program: BorrowedFd<'_>, frame: &[u8], action: i32, repeat: u32) -> Result<u32> {
    let run = test_run::on_frame(program, frame, repeat)?;
    ensure!(run.verdict == action.cast_unsigned(), "verdict {} where {action} was expected", run.verdict);
    Ok(run.nanoseconds)
}
