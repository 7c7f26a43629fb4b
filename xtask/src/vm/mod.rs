//! `cargo xtask vm`: the same binaries that run here, in Debian's kernels under qemu.
//!
//! The guest is an initramfs: busybox, the binaries with the shared libraries they ask for, a few kernel modules and
//! `init.sh`, which runs every `kernel*` and `vm_*` test and a smoke test of the quickstart. Nothing is installed:
//! packages are unpacked under the target folder. Emulated (TCG) unless `SPECTRUM_VM_ACCEL=kvm` says that KVM works here.

mod cpio;
mod emulator;
mod initramfs;
mod kernel;
mod modules;
mod qemu;

use std::{io::Write as _, path::PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::emulator::Emulator;
use crate::{
    apt,
    artifacts::{self, Artifacts},
    command::step,
    ebpf,
    tally::Tally,
    workspace::Workspace,
};

/// What builds the guest. `binutils` has strip, `xz-utils` unpacks modules.
const PACKAGES: [&str; 4] = ["iproute2", "curl", "binutils", "xz-utils"];

#[derive(Args)]
pub(crate) struct Vm {
    /// Only this kernel; every one by default
    #[arg(long)]
    kernel: Option<Kernel>,
    /// Only test binaries with this in their names (`netem`, `kernel_tcp`), or `smoke`; everything by default
    #[arg(long, value_name = "PART")]
    only: Option<String>,
}

/// A kernel that Debian keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    pub(crate) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    pub(crate) const fn version(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// The package that always depends on the newest build.
    const fn package(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-image-cloud-amd64",
            Self::V6_12 => "linux-image-6.12-cloud-amd64",
        }
    }

    fn home(self, workspace: &Workspace) -> PathBuf {
        workspace.target.join("vm").join(self.version())
    }
}

impl Vm {
    pub(crate) fn execute(&self, workspace: &Workspace) -> Result<()> {
        ebpf::build(workspace)?;
        let artifacts = match self.only.as_deref() {
            // Without any test Cargo would choose other features, and build nearly everything again.
            None | Some(initramfs::SMOKE) => artifacts::build(workspace)?,
            Some(part) => artifacts::build_with(workspace, &format!("--test=*{part}*"))?,
        };
        let mut tally = Tally::default();
        for kernel in Kernel::ALL.into_iter().filter(|kernel| self.kernel.is_none_or(|wanted| wanted == *kernel)) {
            run(workspace, &artifacts, kernel, self.only.as_deref(), &mut tally)?;
        }
        writeln!(std::io::stdout(), "\n{}{tally}", tally.trouble())?;
        if tally.failed > 0 {
            bail!("{} of {} checks failed in a VM", tally.failed, tally.failed + tally.passed);
        }
        Ok(())
    }
}

/// Boots one kernel and adds what all its tests count.
pub(crate) fn check(workspace: &Workspace, artifacts: &Artifacts, kernel: Kernel, tally: &mut Tally) -> Result<()> {
    run(workspace, artifacts, kernel, None, tally)
}

/// The same with the tests that have `only` in their names, or the smoke test.
fn run(
    workspace: &Workspace,
    artifacts: &Artifacts,
    kernel: Kernel,
    only: Option<&str>,
    tally: &mut Tally,
) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the VM tier boots Debian's amd64 kernels, and this machine is {}", std::env::consts::ARCH);
    }
    apt::ensure(&PACKAGES, "virtual machines")?;
    let emulator = Emulator::provision(workspace)?;
    let home = kernel.home(workspace);
    let boot = kernel::provision(kernel, &home)?;
    let image = home.join("initramfs.cpio");
    step(&format!("initramfs for Linux {}", boot.release), || {
        initramfs::build(workspace, artifacts, &boot, only, &image)
    })?;
    step(&format!("Linux {} in qemu", boot.release), || {
        qemu::run(&emulator, &boot, &image, &home.join("console.log"), tally)
    })
}
