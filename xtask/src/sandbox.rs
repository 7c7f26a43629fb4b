//! Private namespaces for whatever touches the kernel: mounts, processes and network of its own, with a bpffs and a `/run`
//! of its own, so that the kernel cleans up whatever ends it. Nothing in it reaches the host's network or its pins.
//!
//! It ends with whoever started it, through sudo as well: they hold the other end of its input, and the kernel closes that
//! whatever kills them. `PR_SET_PDEATHSIG` is forgotten where sudo begins (`man 2 prctl`).

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{command, root, tally::Tally};

/// A program in namespaces of its own, ended after `limit` with everything it started.
pub(crate) fn command<'a>(
    program: &Path,
    environment: impl IntoIterator<Item = (&'a str, OsString)>,
    limit: Duration,
) -> Result<Command> {
    let mut command = root::command("timeout", environment)?;
    // In the foreground, so that Ctrl-C reaches everything; KILL, because unshare waits out everything else.
    command.args(["--foreground", "--signal=KILL", &limit.as_secs().to_string()]);
    command.args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.args(["sh", "-c", include_str!("sandbox.sh"), "sandbox"]).arg(program);
    Ok(command)
}

/// Runs a test runner and says what it counts. One in a sandbox ends with us.
pub(crate) fn count(runner: &mut Command) -> Result<Tally> {
    let mut child = runner
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", command::line(runner)))?;
    // Kept open until it has ended.
    let input = child.stdin.take();
    let mut run = Tally::default();
    run.read(child.stdout.take().context("its output is a pipe")?)?;
    let status = child.wait()?;
    drop(input);
    if !status.success() && run.failed == 0 {
        run.died(format!("`{}` ended with {status}", command::line(runner)));
    }
    Ok(run)
}
