//! What the machine, the contestant and the benchmark itself spent, between two moments.
//!
//! Whole-machine figures are the honest ones: the kernel's work for a connection is done on whichever core and under
//! whichever process's name it happens to be, so a contestant's own processor time says little.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// `/proc/stat` counts in `USER_HZ`, 100 on every architecture Linux runs Rust on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters at one moment, in seconds of processor time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    at: Instant,
    busy: f64,
    user: f64,
    steal: f64,
    total: f64,
    own_user: f64,
    contestant: f64,
    contestant_user: f64,
}

/// The difference of two [`Usage`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// Wall clock, seconds.
    pub(crate) seconds: f64,
    /// All cores, everything but idle.
    pub(crate) busy: f64,
    /// User and system time of the contestant's processes.
    pub(crate) contestant: f64,
    /// Share of the machine's time that the hypervisor gave to others.
    pub(crate) steal: f64,
    /// Share of the machine's time spent in user mode by neither the contestant nor the benchmark.
    pub(crate) foreign: f64,
}

impl Usage {
    /// Counters now; `contestant` is the first process of the contestant, if it has any.
    pub(crate) fn now(contestant: Option<u32>) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let mut cpu = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .map(|ticks| ticks.parse::<f64>().unwrap_or(0.0) / TICKS_PER_SECOND);
        let mut next = || cpu.next().unwrap_or(0.0);
        let (user, nice, system, idle, iowait, irq, softirq, steal) =
            (next(), next(), next(), next(), next(), next(), next(), next());
        let busy = user + nice + system + irq + softirq;
        let own = getrusage(UsageWho::RUSAGE_SELF).context("read own processor time")?;
        let (contestant_user, contestant_system) = contestant.map_or(Ok((0.0, 0.0)), processes)?;
        Ok(Self {
            at: Instant::now(),
            busy,
            user: user + nice,
            steal,
            total: busy + idle + iowait + steal,
            own_user: as_seconds(own.user_time().num_microseconds()),
            contestant: contestant_user + contestant_system,
            contestant_user,
        })
    }

    pub(crate) fn since(self, earlier: Self) -> Spent {
        let total = (self.total - earlier.total).max(f64::EPSILON);
        let known = (self.own_user - earlier.own_user) + (self.contestant_user - earlier.contestant_user);
        Spent {
            seconds: (self.at - earlier.at).as_secs_f64(),
            busy: self.busy - earlier.busy,
            contestant: self.contestant - earlier.contestant,
            steal: (self.steal - earlier.steal) / total,
            foreign: ((self.user - earlier.user - known) / total).max(0.0),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a short run are far below 2^52")]
fn as_seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}

/// User and system seconds of `root` and its descendants.
fn processes(root: u32) -> Result<(f64, f64)> {
    let mut sum = (0.0, 0.0);
    for process in tree(root)? {
        sum.0 += process.user;
        sum.1 += process.system;
    }
    Ok(sum)
}

/// Proportional resident memory of `root` and its descendants, bytes: shared pages count once.
pub(crate) fn resident(root: u32) -> Result<f64> {
    let mut sum = 0.0;
    for process in tree(root)? {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id)).context("read smaps_rollup")?;
        sum += field(&rollup, "Pss:") * 1024.0;
    }
    Ok(sum)
}

/// Kernel memory of the whole machine that objects like sockets live in, bytes.
pub(crate) fn slab() -> Result<f64> {
    Ok(field(&fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?, "Slab:") * 1024.0)
}

/// The number behind `name` in a file of `name: number` lines.
fn field(text: &str, name: &str) -> f64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

struct Process {
    id: u32,
    parent: u32,
    user: f64,
    system: f64,
}

/// `root` and what descends from it, as `/proc` shows it now.
fn tree(root: u32) -> Result<Vec<Process>> {
    let mut all: HashMap<u32, Process> = HashMap::new();
    for entry in fs::read_dir("/proc").context("list /proc")?.flatten() {
        // A process may end between the listing and the reading.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(process) = parse_stat(&stat) {
            all.insert(process.id, process);
        }
    }
    let mut found = Vec::new();
    let mut wanted = vec![root];
    while let Some(id) = wanted.pop() {
        if let Some(process) = all.remove(&id) {
            wanted.extend(all.values().filter(|other| other.parent == id).map(|other| other.id));
            found.push(process);
        }
    }
    Ok(found)
}

/// `proc_pid_stat(5)`; the name in brackets may hold anything, so fields count from its last bracket.
fn parse_stat(stat: &str) -> Option<Process> {
    let id = stat.split_whitespace().next()?.parse().ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |index: usize| Some(fields.get(index)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(Process { id, parent: fields.get(1)?.parse().ok()?, user: seconds(11)?, system: seconds(12)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "42 (a b) c) S 7 42 42 0 -1 4194560 1 2 3 4 150 250 0 0 20 0 1 0 5 6 7";
        let process = parse_stat(stat).unwrap();
        assert_eq!((process.id, process.parent), (42, 7));
        assert!((process.user - 1.5).abs() < 1e-9 && (process.system - 2.5).abs() < 1e-9);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "Pss_Dirty: 1 kB\nPss: 23 kB\n";
        assert!((field(text, "Pss:") - 23.0).abs() < 1e-9);
    }
}
