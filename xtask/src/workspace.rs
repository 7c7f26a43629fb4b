//! Where the workspace is, where Cargo puts what it builds, and the stable Cargo that started us.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command::{self, scrub};

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// Asks Cargo, which alone knows about `CARGO_TARGET_DIR` and configuration files.
    pub(crate) fn find() -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // Set at run time by `cargo run`, so a moved checkout needs no rebuild.
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().context("xtask lies in the workspace")?.to_owned();
        let mut metadata = Command::new(&cargo);
        scrub(&mut metadata).current_dir(&root).args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata: serde_json::Value =
            serde_json::from_str(&command::output(&mut metadata)?).context("cargo metadata prints JSON")?;
        let target = metadata
            .get("target_directory")
            .and_then(serde_json::Value::as_str)
            .context("cargo metadata names a target_directory")?;
        Ok(Self { target: PathBuf::from(target), root, cargo })
    }

    /// The stable Cargo, in the workspace's root, as if a person had called it.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = Command::new(&self.cargo);
        scrub(&mut cargo).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).arg(subcommand);
        cargo
    }

    /// The object that `cargo xtask build` makes and `spectrum-user/build.rs` embeds.
    pub(crate) fn object(&self) -> PathBuf {
        self.bpf().join("spectrum.o")
    }

    /// Everything of the kernel programs' build.
    pub(crate) fn bpf(&self) -> PathBuf {
        self.target.join("bpf")
    }

    pub(crate) fn profile(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" })
    }
}

/// Shows a path the way a person in the workspace would type it.
pub(crate) fn relative<'a>(path: &'a Path, workspace: &Workspace) -> std::path::Display<'a> {
    path.strip_prefix(&workspace.root).unwrap_or(path).display()
}
