//! What builds the kernel programs: a compiler with its own library sources, and a bpf-linker that fits its LLVM.
//!
//! Looked for in this order: a nightly of rustup's with `rust-src`; rustup able to add that; Debian's `rustc-web`, `cargo-web`
//! and `rust-web-src`. `SPECTRUM_EBPF_TOOLCHAIN` names one instead: `debian`, or a toolchain of rustup's. Compilers and
//! sources of different versions do not mix, and the linker must read the bitcode that its compiler writes.

mod debian;
mod linker;
mod llvm;
mod rustup;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace::Workspace};

pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: linker::Linker,
}

/// A compiler that can build `core` for the kernel.
struct Compiler {
    name: String,
    rustc: PathBuf,
    cargo: PathBuf,
    clippy: Clippy,
    /// A stable compiler that must be told to allow `-Z build-std`.
    stable: bool,
    llvm: llvm::Version,
    /// The folder that holds its LLVM; none where the system's loader finds it.
    libraries: Option<PathBuf>,
}

/// How to get the lints that belong to a compiler.
enum Clippy {
    /// `cargo-clippy` at this path, with the Debian package that brings it.
    Package(PathBuf, &'static str),
    /// `cargo-clippy` at this path, a component of this toolchain of rustup's.
    Component(PathBuf, String),
}

impl Toolchain {
    pub(crate) fn name(&self) -> &str {
        &self.compiler.name
    }

    pub(crate) fn cargo(&self) -> &Path {
        &self.compiler.cargo
    }

    pub(crate) fn rustc(&self) -> &Path {
        &self.compiler.rustc
    }

    pub(crate) fn linker(&self) -> &Path {
        &self.linker.program
    }

    /// Sets what the compiler and the linker need in the environment of a build.
    pub(crate) fn prepare(&self, cargo: &mut Command) {
        if self.compiler.stable {
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(libraries) = &self.linker.libraries {
            cargo.env("LD_LIBRARY_PATH", libraries);
        }
    }

    /// The compiler's own clippy, installed if it is missing.
    pub(crate) fn clippy(&self) -> Result<PathBuf> {
        let (Clippy::Package(program, _) | Clippy::Component(program, _)) = &self.compiler.clippy;
        if !program.exists() {
            match &self.compiler.clippy {
                Clippy::Package(_, package) => crate::apt::ensure(&[package], "linting kernel code")?,
                Clippy::Component(_, toolchain) => rustup::add_component("clippy", toolchain)?,
            }
        }
        Ok(program.clone())
    }
}

/// Finds or installs a toolchain. Quick where it was found before.
pub(crate) fn provision(workspace: &Workspace) -> Result<Toolchain> {
    let wanted = env::var("SPECTRUM_EBPF_TOOLCHAIN").ok().filter(|name| !name.is_empty());
    let mut refused: Vec<String> = Vec::new();
    for source in sources(wanted.as_deref()) {
        let compilers = source.compilers(workspace).unwrap_or_else(|error| {
            let reason = format!("{error:#}");
            // Without rustup, two sources say the same.
            if !refused.contains(&reason) {
                refused.push(reason);
            }
            Vec::new()
        });
        for compiler in compilers {
            match linker::provision(workspace, &compiler) {
                Ok(linker) => return Ok(Toolchain { compiler, linker }),
                Err(error) => refused.push(format!("{}: {error:#}", compiler.name)),
            }
        }
    }
    bail!(
        "no toolchain for the kernel programs.\n\n{}\n\nInstall one of these:\n  \
         rustup toolchain install nightly --component rust-src\n  \
         apt-get install rustc-web cargo-web rust-web-src   (Debian 12 and later)\n\
         With rustup's, name it in SPECTRUM_EBPF_TOOLCHAIN if it is not called nightly.",
        refused.iter().map(|reason| format!("  - {reason}")).collect::<Vec<_>>().join("\n")
    )
}

/// Has rustup add what `cargo <subcommand>` needs to the stable toolchain that started us: minimal ones lack it.
pub(crate) fn ensure_component(workspace: &Workspace, subcommand: &str, component: &str) -> Result<()> {
    if command::succeeds(workspace.cargo(subcommand).arg("--version")) {
        return Ok(());
    }
    // Set by rustup, and by nobody else.
    let toolchain = env::var("RUSTUP_TOOLCHAIN")
        .with_context(|| format!("this Rust toolchain has no `cargo {subcommand}`, and is not rustup's"))?;
    rustup::add_component(component, &toolchain)
}

/// A place where a compiler may come from.
enum Source<'a> {
    Installed(Option<&'a str>),
    Downloaded,
    Debian,
}

fn sources(wanted: Option<&str>) -> Vec<Source<'_>> {
    match wanted {
        None => vec![Source::Installed(None), Source::Downloaded, Source::Debian],
        Some("debian") => vec![Source::Debian],
        Some(name) => vec![Source::Installed(Some(name))],
    }
}

impl Source<'_> {
    fn compilers(&self, workspace: &Workspace) -> Result<Vec<Compiler>> {
        match self {
            Self::Installed(name) => rustup::installed(*name),
            Self::Downloaded => rustup::download(workspace),
            Self::Debian => debian::compiler().map(|compiler| vec![compiler]),
        }
    }
}

/// `release` and LLVM version out of `rustc -vV`.
fn version(rustc: &Path) -> Result<(String, llvm::Version)> {
    let printed = command::output(Command::new(rustc).arg("-vV").env_remove("RUSTUP_TOOLCHAIN"))?;
    let line = |key: &str| printed.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let release = line("release:").with_context(|| format!("{} -vV prints no release", rustc.display()))?;
    let llvm = line("LLVM version:").with_context(|| format!("{} is not built on LLVM", rustc.display()))?;
    Ok((release.to_owned(), llvm.parse()?))
}
