//! Our own copy of bpf-linker, under the target folder: never a global install, and one per LLVM.

use std::{
    fs,
    os::unix,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{Compiler, llvm};
use crate::{
    command::{self, scrub, step},
    workspace::Workspace,
};

pub(super) struct Linker {
    pub(super) program: PathBuf,
    /// What `LD_LIBRARY_PATH` must be for it to find its LLVM; none where it is linked to one.
    pub(super) libraries: Option<PathBuf>,
}

/// The bpf-linker that reads the bitcode of a compiler: its LLVM must not be older than the compiler's.
#[derive(Debug, PartialEq, Eq)]
struct Fit {
    version: &'static str,
    feature: String,
    llvm: Llvm,
}

#[derive(Debug, PartialEq, Eq)]
enum Llvm {
    /// Loads the compiler's own shared library when it starts.
    Loaded,
    /// Is built against an installed LLVM (from 0.11 on there is no other way).
    Linked,
}

fn fit(llvm: llvm::Version) -> Result<Fit> {
    match llvm.major {
        major @ 20..=22 => Ok(Fit { version: "0.10.4", feature: format!("rust-llvm-{major}"), llvm: Llvm::Loaded }),
        23 => Ok(Fit { version: "0.13.0", feature: "llvm-23".to_owned(), llvm: Llvm::Linked }),
        major => bail!("no bpf-linker is known to fit its LLVM {major} (20 to 23 are)"),
    }
}

/// Whether there is a bpf-linker for what a compiler with this LLVM writes.
pub(super) fn fits(llvm: llvm::Version) -> bool {
    fit(llvm).is_ok()
}

pub(super) fn provision(workspace: &Workspace, compiler: &Compiler) -> Result<Linker> {
    let fit = fit(compiler.llvm)?;
    let home = workspace.target.join("bpf-linker");
    let libraries = match fit.llvm {
        Llvm::Loaded => {
            let library = llvm::library(compiler.llvm, compiler.libraries.as_deref())?;
            Some(alone(&home.join("lib"), &library)?)
        }
        Llvm::Linked => None,
    };
    // The path says what it is, so that it needs no other mark of being the right one.
    let root = home.join(format!("{}-{}", fit.version, fit.feature));
    let program = root.join("bin/bpf-linker");
    if !program.exists() {
        step(
            &format!("building bpf-linker {} for LLVM {}, once, which takes minutes", fit.version, compiler.llvm.major),
            || install(workspace, &fit, compiler.llvm, &root, &home.join("build")),
        )?;
    }
    Ok(Linker { program, libraries })
}

fn install(workspace: &Workspace, fit: &Fit, llvm: llvm::Version, root: &Path, build: &Path) -> Result<()> {
    let mut cargo = workspace.cargo("install");
    cargo.args(["--quiet", "--locked", "bpf-linker", "--version", fit.version]);
    cargo
        .args(["--no-default-features", "--features", &fit.feature, "--root"])
        .arg(root)
        .arg("--target-dir")
        .arg(build);
    // Another release of its LLVM bindings must not be chosen by flags meant for the person's own builds.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    if fit.llvm == Llvm::Linked {
        let major = llvm.major;
        let config = format!("llvm-config-{major}");
        let prefix = command::output(scrub(Command::new(&config).arg("--prefix"))).with_context(|| {
            format!("bpf-linker {} is built against LLVM {major}: install llvm-{major}-dev", fit.version)
        })?;
        cargo.env(format!("LLVM_SYS_{major}0_PREFIX"), prefix.trim());
    }
    command::quiet(&mut cargo)?;
    // 200 MiB that nobody needs again.
    fs::remove_dir_all(build).with_context(|| format!("remove {}", build.display()))
}

/// A folder that holds a link to this library and nothing else: bpf-linker loads the first `libLLVM*` of a folder,
/// and a system has several versions in one.
fn alone(home: &Path, library: &Path) -> Result<PathBuf> {
    let name = library.file_name().context("a library has a name")?;
    let folder = home.join(name);
    let link = folder.join(name);
    if fs::read_link(&link).is_ok_and(|target| target == library) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    unix::fs::symlink(library, &link).with_context(|| format!("link {}", link.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(major: u32) -> Result<Fit> {
        fit(llvm::Version { major, minor: 1 })
    }

    #[test]
    fn a_newer_compiler_gets_a_newer_linker() {
        assert_eq!(of(22).unwrap(), Fit { version: "0.10.4", feature: "rust-llvm-22".to_owned(), llvm: Llvm::Loaded });
        assert_eq!(of(23).unwrap().version, "0.13.0");
    }

    #[test]
    fn an_unknown_llvm_is_refused_by_name() {
        assert!(of(19).unwrap_err().to_string().contains("LLVM 19"));
        assert!(of(24).unwrap_err().to_string().contains("LLVM 24"));
    }

    #[test]
    fn a_library_folder_holds_one_library_even_after_an_upgrade() {
        let home = tempfile::tempdir().unwrap();
        let first = alone(home.path(), Path::new("/one/libLLVM.so.22.1")).unwrap();
        let second = alone(home.path(), Path::new("/two/libLLVM.so.22.1")).unwrap();
        assert_eq!(first, second);
        let entries: Vec<_> = fs::read_dir(&second).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(entries.len(), 1);
        assert_eq!(fs::read_link(&entries[0]).unwrap(), Path::new("/two/libLLVM.so.22.1"));
    }
}
