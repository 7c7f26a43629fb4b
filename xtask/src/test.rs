//! `cargo xtask test`: every tier, and one line that sums them up.
//!
//! - *pure*: unit, property and documentation tests of all crates, as the person who called.
//! - *world*: package `spectrum-tests`, as root, each test binary in namespaces of its own (see `sandbox`).
//! - *vm*: the `kernel*` binaries of that package and a smoke test, in Debian's kernels (see `vm`).
//!
//! What tests of package `spectrum-tests` find in their environment, here and in the VM:
//!
//! | variable | what it is |
//! |---|---|
//! | `SPECTRUM_BIN` | path of the binary `spectrum` |
//! | `SPECTRUM_OBJECT` | path of the eBPF object, the one that the binary carries |

use std::{env, ffi::OsString, io::Write as _, path::Path, process::Command, time::Duration};

use anyhow::{Result, bail};
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
pub(crate) const TOOLS: [&str; 23] = [
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
    "iperf3",
    "wrk",
    "curl",
    "socat",
    "tcpdump",
    "strace",
    "systemd",
    "procps",
];

/// A test binary that takes longer hangs.
const LIMIT: Duration = Duration::from_mins(15);

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
            step("documentation tests", || {
                sandbox::count(workspace.cargo("test").args(USERSPACE).arg("--doc"), &mut tally)
            })?;
        }
        if matches!(self.filter.as_deref(), None | Some("vm")) {
            for kernel in vm::Kernel::ALL {
                vm::check(workspace, &artifacts, kernel, &mut tally)?;
            }
        }
        // Alone on a line of standard output: what CI reads.
        writeln!(std::io::stdout(), "\n{tally}")?;
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
        let named = artifacts.tests.iter().any(|test| test.name.contains(filter));
        for test in artifacts.tests.iter().filter(|test| !named || test.name.contains(filter)) {
            let mut runner = runner(workspace, &artifacts.spectrum, test)?;
            if !named {
                runner.arg(filter);
            }
            step(&format!("tests of {}", test.name), || sandbox::count(&mut runner, tally))?;
        }
        Ok(())
    }
}

/// A test binary as Cargo would run it, or in a sandbox with what worlds need.
fn runner(workspace: &Workspace, spectrum: &Path, test: &TestBinary) -> Result<Command> {
    let mut runner = if test.world {
        sandbox::command(&test.path, environment(workspace, spectrum), LIMIT)?
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
    environment.extend(["RUST_BACKTRACE", "RUST_LOG"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
    environment
}
