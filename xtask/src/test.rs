//! `cargo xtask test`: every tier, and one line that sums them up.
//!
//! - *pure*: unit, property and documentation tests of all crates, as the person who called.
//! - *world*: package `spectrum-tests`, as root, each test binary in namespaces of its own (see `sandbox`).
//! - *vm*: the `kernel*` and `vm_*` binaries of that package and a smoke test, in Debian's kernels (see `vm`). The latter
//!   run nowhere else: here the kernel may lack what they need, and a test that cannot run would have failed.
//!
//! What tests of package `spectrum-tests` find in their environment, here and in the VM:
//!
//! | variable | what it is |
//! |---|---|
//! | `SPECTRUM_BIN` | path of the binary `spectrum` |
//! | `SPECTRUM_OBJECT` | path of the eBPF object, the one that the binary carries |
//! | `SPECTRUM_CHURN_SECONDS` | as whoever called has it: how long `churn` lasts |

use std::{
    env, ffi::OsString, io::Write as _, path::Path, process::Command, thread::available_parallelism, time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    apt,
    artifacts::{self, Artifacts, TestBinary, USERSPACE},
    command::step,
    ebpf,
    root::ROOT_PATH,
    sandbox,
    tally::Tally,
    vm,
    workspace::Workspace,
};

/// Debian packages of the programs that tests and benchmarks run: clients, origins, other proxies, and instruments.
pub(crate) const TOOLS: [&str; 31] = [
    "iproute2",
    "bpftool",
    "iptables",
    "conntrack",
    "hping3",
    "netsniff-ng",
    "libfaketime",
    "libcap2-bin",
    "nftables",
    "haproxy",
    "nginx-light",
    "libnginx-mod-stream",
    "openssh-server",
    "openssh-client",
    "redis-server",
    "postfix",
    "dovecot-imapd",
    "vsftpd",
    "mosquitto",
    "mosquitto-clients",
    "iperf3",
    "wrk",
    "curl",
    "openssl",
    "sslscan",
    "testssl.sh",
    "socat",
    "tcpdump",
    "strace",
    "systemd",
    "procps",
];

/// Debian packages that the feature `legacy-tls` is built with.
pub(crate) const LEGACY_TLS: [&str; 2] = ["libssl-dev", "pkg-config"];

/// A test binary that takes longer, beside what it is told to take, hangs.
const LIMIT: Duration = Duration::from_mins(15);
const CHURN_SECONDS: &str = "SPECTRUM_CHURN_SECONDS";

/// Tests of worlds that may pass on their own after they failed among others, in one run. More of them is no chance.
const UNSTEADY: usize = 3;

/// Test binaries whose tests mostly wait, for deadlines, for silence, for programs to start: two of them on each core take
/// half the time. None of these measures a rate, CPU time, or how long something takes that is near its bound.
const WAITING: [&str; 11] = [
    "access",
    "cut_off",
    "endings",
    "lifecycle",
    "names",
    "reload",
    "resolvers",
    "rules",
    "serve",
    "unwrap",
    "unwrap_way",
];

#[derive(Args)]
pub(crate) struct Test {
    /// Part of the name of test binaries (`kernel`, `relay`), or else of tests; `vm` for the VM tier alone
    filter: Option<String>,
}

impl Test {
    pub(crate) fn execute(&self, workspace: &Workspace) -> Result<()> {
        apt::ensure(&TOOLS, "tests")?;
        ebpf::build(workspace)?;
        let artifacts = artifacts::build(workspace)?;
        let mut tally = Tally::default();
        if self.filter.as_deref() != Some("vm") {
            self.binaries(workspace, &artifacts, &mut tally)?;
        }
        if self.filter.is_none() {
            // Once more with what the feature adds; the other tests would say the same again.
            apt::ensure(&LEGACY_TLS, "TLS of old clients")?;
            step("tests of TLS for old clients", || {
                let mut cargo = workspace.cargo("test");
                cargo.args(USERSPACE).args([
                    "--lib",
                    "--features",
                    "spectrum-user/legacy-tls",
                    "--",
                    "legacy",
                    "old_versions",
                ]);
                tally.add(sandbox::count(&mut cargo)?);
                Ok(())
            })?;
            step("documentation tests", || {
                tally.add(sandbox::count(workspace.cargo("test").args(USERSPACE).arg("--doc"))?);
                Ok(())
            })?;
        }
        if matches!(self.filter.as_deref(), None | Some("vm")) {
            for kernel in vm::Kernel::ALL {
                vm::check(workspace, &artifacts, kernel, &mut tally)?;
            }
        }
        // The tally alone on a line of standard output: what CI reads.
        writeln!(std::io::stdout(), "\n{}{tally}", tally.trouble())?;
        if tally.failed > 0 {
            bail!("{} of {} tests failed", tally.failed, tally.failed + tally.passed);
        }
        if tally.passed == 0 {
            bail!("no test ran: nothing is called `{}`", self.filter.as_deref().unwrap_or_default());
        }
        Ok(())
    }

    fn binaries(&self, workspace: &Workspace, artifacts: &Artifacts, tally: &mut Tally) -> Result<()> {
        let filter = self.filter.as_deref().unwrap_or_default();
        // A filter that names binaries chooses among them; any other chooses tests of all.
        let tests = || artifacts.tests.iter().filter(|test| !test.only_in_vm());
        let named = tests().any(|test| test.name.contains(filter));
        if !named && artifacts.tests.iter().any(|test| test.name.contains(filter)) {
            bail!("tests of that name run in a VM alone: `cargo xtask vm --only {filter}`");
        }
        for test in tests().filter(|test| !named || test.name.contains(filter)) {
            let mut runner = runner(workspace, &artifacts.spectrum, test)?;
            if !named {
                runner.arg(filter);
            }
            if WAITING.contains(&test.name.as_str()) {
                runner.arg(format!("--test-threads={}", 2 * available_parallelism()?.get()));
            }
            let mut run = step(&format!("tests of {}", test.name), || sandbox::count(&mut runner))?;
            let room = UNSTEADY.saturating_sub(tally.unsteady.len());
            // A runner that died has told of one more than it counted, or of less.
            if test.world && (1..=room).contains(&run.failures.len()) && run.failures.len() as u64 == run.failed {
                for name in run.failures.clone() {
                    look_again(workspace, &artifacts.spectrum, test, &name, &mut run)?;
                }
            }
            tally.add(run);
        }
        Ok(())
    }
}

/// A test that failed among others, on its own. One that passes so is told of and does not fail the run: worlds have
/// deadlines, and whoever shares this machine's cores takes what time they like.
fn look_again(workspace: &Workspace, spectrum: &Path, test: &TestBinary, name: &str, run: &mut Tally) -> Result<()> {
    let mut runner = runner(workspace, spectrum, test)?;
    runner.args(["--exact", name]);
    let alone = step(&format!("{name} of {} on its own", test.name), || sandbox::count(&mut runner))?;
    if alone.failed == 0 && alone.passed == 1 {
        run.passed_alone(name);
    }
    Ok(())
}

/// A test binary as Cargo would run it, or in a sandbox with what worlds need.
fn runner(workspace: &Workspace, spectrum: &Path, test: &TestBinary) -> Result<Command> {
    let mut runner = if test.world {
        sandbox::command(&test.path, environment(workspace, spectrum), LIMIT + told_to_take(&test.name)?)?
    } else {
        Command::new(&test.path)
    };
    runner.current_dir(&test.package).env("CARGO_MANIFEST_DIR", &test.package);
    Ok(runner)
}

fn environment(workspace: &Workspace, spectrum: &Path) -> Vec<(&'static str, OsString)> {
    let mut environment = vec![
        ("SPECTRUM_BIN", spectrum.as_os_str().to_owned()),
        ("SPECTRUM_OBJECT", workspace.object().into_os_string()),
        ("PATH", ROOT_PATH.into()),
    ];
    let handed_on = ["RUST_BACKTRACE", "RUST_LOG", CHURN_SECONDS];
    environment.extend(handed_on.into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
    environment
}

/// How long a test binary lasts because whoever called wants it to.
fn told_to_take(name: &str) -> Result<Duration> {
    match env::var(CHURN_SECONDS) {
        Ok(text) if name == "churn" => {
            let seconds = text.parse().with_context(|| format!("{CHURN_SECONDS}={text}: not a number of seconds"))?;
            Ok(Duration::from_secs(seconds))
        }
        _ => Ok(Duration::ZERO),
    }
}
