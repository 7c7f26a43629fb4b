//! Toolchains of rustup's: those that are there, and the one it can fetch.
//!
//! Folders are read in place of asking `rustc +nightly`, which may start a download of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{Clippy, Compiler, version};
use crate::{
    command::{self, step},
    workspace::Workspace,
};

/// Fetched where no nightly is there: one whose LLVM bpf-linker is known to fit (rustc 1.97, LLVM 22.1).
const PINNED: &str = "nightly-2026-05-20";
/// A download that takes longer is given up.
const PATIENCE: Duration = Duration::from_mins(5);
/// For how long a failed download is not tried again.
const REMEMBERED: Duration = Duration::from_hours(24);

/// Toolchains with their library sources: the one of this name, or every nightly, the undated one first.
pub(super) fn installed(wanted: Option<&str>) -> Result<Vec<Compiler>> {
    let folders: Vec<(String, PathBuf)> = toolchains()?
        .into_iter()
        .filter(|(name, _)| match wanted {
            Some(wanted) => name == wanted || name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('-')),
            None => name.starts_with("nightly"),
        })
        .collect();
    let wanted = wanted.unwrap_or("nightly");
    if folders.is_empty() {
        bail!("rustup has no toolchain called {wanted}");
    }
    let with_sources: Vec<Compiler> = folders
        .iter()
        .filter(|(_, folder)| has_sources(folder))
        .filter_map(|(name, folder)| compiler(name, folder).ok())
        .collect();
    if with_sources.is_empty() {
        bail!("rustup's {wanted} has no component rust-src");
    }
    Ok(with_sources)
}

/// Has rustup add `rust-src` to a nightly that is there, or fetch a nightly.
///
/// A failure is remembered: behind a closed network each try would cost time, and change nothing.
pub(super) fn download(workspace: &Workspace) -> Result<Vec<Compiler>> {
    let remembered = workspace.bpf().join("rustup-failed");
    if recent(&remembered) {
        bail!("rustup could not download a nightly's rust-src lately (delete {} to try again)", remembered.display());
    }
    let nightly = toolchains()?.into_iter().find(|(name, _)| name.starts_with("nightly"));
    let (what, arguments) = match &nightly {
        Some((name, _)) => (
            format!("rustup: adding rust-src to {name}"),
            vec!["component", "add", "rust-src", "--toolchain", name.as_str()],
        ),
        None => (
            format!("rustup: installing {PINNED} with rust-src"),
            vec![
                "toolchain",
                "install",
                PINNED,
                "--profile",
                "minimal",
                "--component",
                "rust-src,clippy",
                "--no-self-update",
            ],
        ),
    };
    let done = step(&what, || {
        command::quiet(Command::new("timeout").arg(PATIENCE.as_secs().to_string()).arg("rustup").args(&arguments))
    });
    if let Err(error) = done {
        fs::create_dir_all(workspace.bpf())?;
        fs::write(&remembered, format!("{error:#}\n"))?;
        return Err(error);
    }
    installed(None)
}

pub(super) fn add_component(component: &str, toolchain: &str) -> Result<()> {
    step(&format!("rustup: adding {component} to {toolchain}"), || {
        command::quiet(Command::new("timeout").arg(PATIENCE.as_secs().to_string()).args([
            "rustup",
            "component",
            "add",
            component,
            "--toolchain",
            toolchain,
        ]))
    })
}

/// Name and folder of every toolchain, the undated nightly before dated ones, newer before older.
fn toolchains() -> Result<Vec<(String, PathBuf)>> {
    let home = Command::new("rustup")
        .args(["show", "home"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("rustup is not installed")?;
    let home = String::from_utf8(home.stdout).context("rustup's home is text")?;
    let folder = Path::new(home.trim()).join("toolchains");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut found: Vec<(String, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    // "nightly-x86_64…" sorts after "nightly-2026-…", so the reverse order is the wanted one.
    found.sort_by(|(one, _), (other, _)| other.cmp(one));
    Ok(found)
}

fn has_sources(folder: &Path) -> bool {
    folder.join("lib/rustlib/src/rust/library/Cargo.lock").exists()
}

fn compiler(name: &str, folder: &Path) -> Result<Compiler> {
    let rustc = folder.join("bin/rustc");
    let (release, llvm) = version(&rustc)?;
    Ok(Compiler {
        name: format!("rustup's {name} ({release}, LLVM {llvm})"),
        cargo: folder.join("bin/cargo"),
        clippy: Clippy::Component(folder.join("bin/cargo-clippy"), name.to_owned()),
        stable: !release.contains("nightly"),
        llvm,
        libraries: Some(folder.join("lib")),
        rustc,
    })
}

fn recent(file: &Path) -> bool {
    let age = fs::metadata(file).and_then(|metadata| metadata.modified()).map(|written| written.elapsed());
    age.is_ok_and(|age| age.is_ok_and(|age| age < REMEMBERED))
}
