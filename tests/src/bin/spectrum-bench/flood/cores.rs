//! One core for the flood and its receive path, the other for everything else: clients, proxy, origin, the benchmark.

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const TRAFFIC: usize = 0;
const FLOOD: usize = 1;

/// Moves the calling thread, and what it starts from then on, to the core of everything but the flood.
pub(super) fn traffic() -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores > FLOOD, "floods take a core of their own, and this machine has {cores}");
    pin(TRAFFIC)
}

/// Moves the calling thread to the flood's core.
pub(super) fn flood() -> Result<()> {
    pin(FLOOD)
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("use core {core} alone"))
}
