//! What the figures were measured on.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::load::pause;
use crate::usage::Usage;

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Share of the machine's time in use before anything was started.
    pub(crate) busy_before: f64,
}

/// Looks around, and for one second at how busy the machine is.
pub(crate) fn look() -> Result<Machine> {
    let cores = std::thread::available_parallelism()?.get();
    let before = Usage::now(None)?;
    pause(Duration::from_secs(1));
    let spent = Usage::now(None)?.since(before);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    #[expect(clippy::cast_precision_loss, reason = "cores of one machine")]
    let capacity = spent.seconds * cores as f64;
    Ok(Machine { kernel, processor, cores, busy_before: spent.busy / capacity })
}
