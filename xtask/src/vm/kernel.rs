//! Debian's kernel packages, unpacked and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::Kernel;
use crate::{apt, command::step};

pub(super) struct Boot {
    /// `uname -r` of it.
    pub(super) release: String,
    pub(super) vmlinuz: PathBuf,
    /// `lib/modules/<release>`.
    pub(super) modules: PathBuf,
}

/// The newest build of a kernel, fetched once. Where apt does not answer, the last one fetched.
pub(super) fn provision(kernel: Kernel, home: &Path) -> Result<Boot> {
    let release = match newest(kernel) {
        Ok(release) => release,
        Err(error) => last(home).ok_or(error)?,
    };
    let folder = home.join("linux").join(&release);
    let boot = Boot {
        vmlinuz: folder.join(format!("boot/vmlinuz-{release}")),
        modules: folder.join(format!("lib/modules/{release}")),
        release,
    };
    if !boot.vmlinuz.exists() {
        let package = format!("linux-image-{}", boot.release);
        step(&format!("fetching {package}"), || apt::unpack(&package, &folder))?;
    }
    Ok(boot)
}

/// `linux-image-cloud-amd64` depends on `linux-image-6.1.0-56-cloud-amd64 (= …)`, which is named after its release.
fn newest(kernel: Kernel) -> Result<String> {
    let depends = apt::field(kernel.package(), "Depends")?;
    let release = depends.split([' ', ',']).next().and_then(|package| package.strip_prefix("linux-image-"));
    release.map(str::to_owned).with_context(|| format!("{} depends on {depends}, which is no kernel", kernel.package()))
}

fn last(home: &Path) -> Option<String> {
    let entries = fs::read_dir(home.join("linux")).ok()?;
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).max()
}
