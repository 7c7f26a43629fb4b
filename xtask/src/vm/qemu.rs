//! Boots a guest and reads its console: test results, the end of the run, a panic, or silence.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::{emulator::Emulator, kernel::Boot};
use crate::{command, tally::Tally};

/// Emulated, a boot takes seconds and the tests minutes; on a busy machine, several times that.
const LIMIT: Duration = Duration::from_mins(25);
/// What a kernel says when it is lost.
const DEATHS: [&str; 4] = ["Kernel panic", "BUG: ", "Oops: ", "general protection fault"];
/// What `init.sh` says, at the start of a line.
const MARK: &str = "spectrum-vm: ";

/// Runs the guest, shows its console from the first test on, and adds its counts. A guest that does not come to its end
/// counts as one failure, and its console is shown.
pub(super) fn run(emulator: &Emulator, boot: &Boot, image: &Path, log: &Path, tally: &mut Tally) -> Result<()> {
    let mut guest = start(emulator, boot, image)?;
    let mut console = Console::new(fs::File::create(log)?, std::io::stdout());
    let outcome = console.follow(&mut guest.0);
    let mut run = console.tally;
    drop(guest);
    if let Err(error) = outcome {
        let console = fs::read(log).unwrap_or_default();
        let how = format!("Linux {}: {error:#}", boot.release);
        eprintln!("{}\nxtask: {how}; its console is above", String::from_utf8_lossy(&console));
        run.died(how);
    }
    eprintln!("xtask: Linux {}: {run}", boot.release);
    tally.add(run);
    Ok(())
}

/// A guest that does not outlive us.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only for a guest that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(emulator: &Emulator, boot: &Boot, image: &Path) -> Result<Guest> {
    let acceleration = env::var("SPECTRUM_VM_ACCEL").ok().filter(|name| !name.is_empty());
    let mut qemu = emulator.command();
    match acceleration.as_deref() {
        Some("kvm") => qemu.args(["-accel", "kvm", "-cpu", "host"]),
        Some("tcg") | None => qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max"]),
        Some(other) => bail!("SPECTRUM_VM_ACCEL is `{other}`: it may be kvm or tcg"),
    };
    qemu.args(["-smp", "2", "-m", "1024M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    // A panic reboots at once, which ends qemu; a slow emulation is no soft lockup.
    qemu.args([
        "-append",
        "console=ttyS0 rdinit=/init quiet loglevel=4 panic=-1 nowatchdog rcupdate.rcu_cpu_stall_suppress=1",
    ]);
    qemu.arg("-kernel").arg(&boot.vmlinuz).arg("-initrd").arg(image);
    // Whatever ends us, it does not go on.
    // SAFETY: only async-signal-safe calls between fork and exec: prctl and nothing else.
    unsafe {
        qemu.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    let child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    Ok(Guest(child.with_context(|| format!("cannot start `{}`", command::line(&qemu)))?))
}

struct Console<W> {
    log: fs::File,
    /// Where test results are shown.
    shown: W,
    tally: Tally,
    /// The test binary that runs, and how many had failed before it.
    runner: Option<(String, u64)>,
    done: bool,
}

impl<W: Write> Console<W> {
    fn new(log: fs::File, shown: W) -> Self {
        Self { log, shown, tally: Tally::default(), runner: None, done: false }
    }

    fn follow(&mut self, guest: &mut Child) -> Result<()> {
        let output = guest.stdout.take().context("its console is a pipe")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let deadline = Instant::now() + LIMIT;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.line(&line)?,
                Err(RecvTimeoutError::Disconnected) if self.done => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("the guest ended before its tests did"),
                Err(RecvTimeoutError::Timeout) => bail!("the guest took longer than {} s", LIMIT.as_secs()),
            }
        }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        writeln!(self.log, "{line}")?;
        if DEATHS.iter().any(|death| line.contains(death)) {
            bail!("the guest's kernel died: {line}");
        }
        if let Some(said) = line.strip_prefix(MARK) {
            return self.mark(said);
        }
        if self.runner.is_some() {
            writeln!(self.shown, "{line}")?;
            self.tally.line(line);
        }
        Ok(())
    }

    /// `run <name>`, `exit <name> <status>`, `done`.
    fn mark(&mut self, said: &str) -> Result<()> {
        let mut words = said.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("run"), Some(name), None) => {
                eprintln!("xtask: in the guest: {name}");
                self.runner = Some((name.to_owned(), self.tally.failed));
            }
            (Some("exit"), Some(name), Some(status)) => {
                let (running, before) = self.runner.take().context("a test ended that had not begun")?;
                anyhow::ensure!(running == name, "{name} ended while {running} ran");
                if status != "0" && self.tally.failed == before {
                    self.tally.died(format!("in the guest: {name} ended with status {status}"));
                }
            }
            (Some("done"), None, None) => self.done = true,
            _ => bail!("the guest said `{said}`"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows nothing: whoever counts this test's own output would count what it makes up.
    fn console() -> Console<std::io::Sink> {
        Console::new(fs::OpenOptions::new().write(true).open("/dev/null").unwrap(), std::io::sink())
    }

    #[test]
    fn a_test_that_dies_without_a_result_has_failed() {
        let mut console = console();
        for line in [
            "spectrum-vm: run kernel_xdp",
            "Segmentation fault",
            "spectrum-vm: exit kernel_xdp 139",
            "spectrum-vm: done",
        ] {
            console.line(line).unwrap();
        }
        assert_eq!(console.tally.to_string(), "0 passed, 1 failed");
        assert!(console.done);
    }

    #[test]
    fn failed_tests_are_not_counted_twice() {
        let mut console = console();
        let result = "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        for line in ["spectrum-vm: run kernel_xdp", result, "spectrum-vm: exit kernel_xdp 101"] {
            console.line(line).unwrap();
        }
        assert_eq!(console.tally.to_string(), "4 passed, 2 failed");
    }

    #[test]
    fn a_panic_of_the_kernel_ends_the_run() {
        assert!(console().line("[    1.0] Kernel panic - not syncing: Fatal exception").is_err());
    }
}
