//! The kernel programs: built for `bpfel-unknown-none` into one object, and linted there.
//!
//! Always an invocation of its own with a target folder of its own: features of userspace's crates (std) must not reach
//! the kernel's, and two compilers sharing a cache would rebuild everything at each turn.

use std::{env::consts::ARCH, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    command::{self, scrub, step},
    toolchain::{self, Toolchain},
    workspace::Workspace,
};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the object and puts it where `spectrum-user/build.rs` looks for it.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let toolchain = toolchain::provision(workspace)?;
    step(&format!("kernel programs, by {}", toolchain.name()), || {
        let mut cargo = cargo(workspace, &toolchain, toolchain.cargo(), "build");
        command::run(cargo.args(["--package", "spectrum-ebpf"]))?;
        let built = workspace.bpf().join("build").join(TARGET).join("release/spectrum-ebpf");
        publish(&built, &workspace.object())
    })
}

/// Lints the kernel programs with the compiler that builds them, for the target they are built for.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let toolchain = toolchain::provision(workspace)?;
    let clippy = toolchain.clippy()?;
    // Called by path: `cargo clippy` would look in ~/.cargo/bin first and find another compiler's.
    let mut cargo = cargo(workspace, &toolchain, &clippy, "clippy");
    command::run(cargo.args(["--package", "spectrum-ebpf", "--", "--deny", "warnings"]))
}

fn cargo(workspace: &Workspace, toolchain: &Toolchain, program: &Path, subcommand: &str) -> Command {
    let flags = [
        "-Clinker=".to_owned() + &toolchain.linker().to_string_lossy(),
        // BTF needs debug information of everything whose types reach a map, `core` included.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{ARCH}\""),
    ];
    let mut cargo = Command::new(program);
    scrub(&mut cargo)
        .current_dir(&workspace.root)
        // What belongs to the stable toolchain that started us, or to the person's own builds.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .env("RUSTC_WRAPPER", "")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("CARGO", toolchain.cargo())
        .env("RUSTC", toolchain.rustc())
        // Paths may hold spaces: this form separates flags by 0x1f.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        // bpf-linker merges all bitcode itself; the compiler's LTO before it would only cost time.
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .arg(subcommand)
        .args(["--release", "-Zbuild-std=core", "--target", TARGET, "--target-dir"])
        .arg(workspace.bpf().join("build"));
    toolchain.prepare(&mut cargo);
    cargo
}

/// Copies only what differs: an unchanged object keeps its time, so Cargo rebuilds nothing.
fn publish(built: &Path, object: &Path) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("read {}", built.display()))?;
    if fs::read(object).is_ok_and(|existing| existing == bytes) {
        return Ok(());
    }
    let fresh = object.with_extension("o.new");
    fs::write(&fresh, &bytes).with_context(|| format!("write {}", fresh.display()))?;
    // A rename, so that nobody ever reads half an object.
    fs::rename(&fresh, object).with_context(|| format!("write {}", object.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_object_keeps_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let (built, object) = (folder.path().join("built"), folder.path().join("spectrum.o"));
        fs::write(&built, b"one").unwrap();
        publish(&built, &object).unwrap();
        let first = fs::metadata(&object).unwrap().modified().unwrap();
        publish(&built, &object).unwrap();
        assert_eq!(fs::metadata(&object).unwrap().modified().unwrap(), first);
        fs::write(&built, b"two").unwrap();
        publish(&built, &object).unwrap();
        assert_eq!(fs::read(&object).unwrap(), b"two");
    }
}
