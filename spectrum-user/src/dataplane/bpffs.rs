//! The filesystem that pins live in.

use std::{io, path::Path};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

/// Where every distribution mounts it.
pub(super) const ROOT: &str = "/sys/fs/bpf";

/// Marks a mount that was made here, so that it goes when the last instance goes.
const MOUNTED_BY_US: &str = "/sys/fs/bpf/spectrum-mounted";

#[derive(Debug, thiserror::Error)]
pub enum BpffsError {
    #[error("{ROOT} does not exist: the kernel has no bpf(2) (CONFIG_BPF_SYSCALL) or /sys is not mounted")]
    Missing,
    #[error("mount the BPF filesystem on {ROOT} (as systemd does at boot), or run as root")]
    Mount(#[source] io::Error),
    #[error("look at {ROOT}")]
    Look(#[source] io::Error),
}

/// Whether the BPF filesystem is mounted.
pub(super) fn mounted() -> Result<bool, BpffsError> {
    match statfs(ROOT) {
        Ok(fs) => Ok(fs.filesystem_type() == BPF_FS_MAGIC),
        Err(nix::Error::ENOENT) => Err(BpffsError::Missing),
        Err(error) => Err(BpffsError::Look(error.into())),
    }
}

/// Mounts it where nobody has (a container, a minimal system).
pub(super) fn ensure() -> Result<(), BpffsError> {
    if mounted()? {
        return Ok(());
    }
    mount(
        Some("bpf"),
        ROOT,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .map_err(|error| BpffsError::Mount(error.into()))?;
    std::fs::create_dir(MOUNTED_BY_US).map_err(BpffsError::Mount)
}

/// Takes the mount away again if it was made here and nobody uses it.
pub(super) fn release() {
    let marker = Path::new(MOUNTED_BY_US);
    // Every mount comes with `maps.debug` and `progs.debug` (kernel/bpf/inode.c, `populate_bpffs`).
    let is_others = |path: &Path| path != marker && path.extension().is_none_or(|extension| extension != "debug");
    let others = |entries: std::fs::ReadDir| entries.flatten().any(|entry| is_others(&entry.path()));
    if marker.exists() && std::fs::read_dir(ROOT).is_ok_and(|entries| !others(entries)) {
        let _ = std::fs::remove_dir(marker);
        if let Err(error) = umount2(ROOT, MntFlags::empty()) {
            log::warn!("the BPF filesystem stays mounted on {ROOT}: {error}");
        }
    }
}
