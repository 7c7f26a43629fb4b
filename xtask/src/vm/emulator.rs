//! The emulator: installed, or unpacked under the target folder where installing it would take another package away.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{apt, command::step, workspace::Workspace};

const PACKAGE: &str = "qemu-system-x86";
const PROGRAM: &str = "qemu-system-x86_64";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Where its packages have what it boots with.
const FIRMWARE: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];

#[derive(Debug)]
pub(super) enum Emulator {
    Installed,
    /// The root that its packages were unpacked into.
    Unpacked(PathBuf),
}

impl Emulator {
    pub(super) fn provision(workspace: &Workspace) -> Result<Self> {
        if apt::installed(PACKAGE) {
            return Ok(Self::Installed);
        }
        let root = workspace.target.join("vm/qemu");
        if root.join("usr/bin").join(PROGRAM).exists() {
            return Ok(Self::Unpacked(root));
        }
        let Err(refused) = apt::ensure(&[PACKAGE], "virtual machines") else { return Ok(Self::Installed) };
        // A newer qemu-utils, for instance, does not go together with it.
        step(&format!("unpacking {PACKAGE}, which cannot be installed beside what is here"), || unpack(&root))
            .with_context(|| format!("{refused:#}"))?;
        Ok(Self::Unpacked(root))
    }

    pub(super) fn command(&self) -> Command {
        match self {
            Self::Installed => Command::new(PROGRAM),
            Self::Unpacked(root) => {
                let mut command = Command::new(root.join("usr/bin").join(PROGRAM));
                command.env("LD_LIBRARY_PATH", root.join(LIBRARIES));
                for folder in FIRMWARE {
                    command.arg("-L").arg(root.join(folder));
                }
                command
            }
        }
    }
}

/// Whole or not at all.
fn unpack(root: &Path) -> Result<()> {
    let fresh = root.with_extension("new");
    apt::unpack_whole(PACKAGE, &fresh)?;
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    Ok(fs::rename(fresh, root)?)
}
