//! Private namespaces for the whole benchmark, so that whatever ends it leaves nothing on the host.
//!
//! The benchmark starts itself again as the first process of namespaces of its own. The kernel kills every process of
//! a process namespace with its first one, and then frees its network, its mounts and its pins. Nothing is ever
//! cleaned up by hand, so nothing can be forgotten.

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, getpid};

/// Set for the process that already runs inside.
const INSIDE: &str = "SPECTRUM_BENCH_INSIDE";

/// Runs `inside` within private namespaces: in this process if it is there already, else in a child.
pub(crate) fn run(inside: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    if env::var_os(INSIDE).is_some() && getpid().as_raw() == 1 {
        // Ctrl-C or a kill of the parent: it dies at once, and this namespace with it.
        set_pdeathsig(Signal::SIGKILL).context("ask to die with the parent")?;
        prepare_mounts()?;
        return inside();
    }
    if !Uid::effective().is_root() {
        bail!("the benchmark makes network namespaces and loads XDP programs: run it as root (sudo cargo xtask bench)");
    }
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    unshare(flags).context("make private namespaces (needs CAP_SYS_ADMIN)")?;
    let program = env::current_exe().context("find this program's own path")?;
    let status = Command::new(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .context("start the benchmark inside its namespaces")?;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        (None, signal) => bail!("the benchmark was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// Own `/proc` (of this process namespace), `/run` (for named network namespaces and sockets) and bpffs.
fn prepare_mounts() -> Result<()> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("make mounts private")?;
    for (kind, at) in [("proc", "/proc"), ("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")] {
        mount(Some(kind), at, Some(kind), MsFlags::empty(), NONE).with_context(|| format!("mount {kind} on {at}"))?;
    }
    Ok(())
}
