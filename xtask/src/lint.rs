//! `cargo xtask lint`: what CI refuses: formatting, warnings of clippy in user and kernel code, and of rustdoc.
//!
//! Every check runs whatever the others say, so that one run shows everything.

use anyhow::{Result, bail};

use crate::{
    apt,
    artifacts::USERSPACE,
    command::{run, step},
    ebpf,
    test::LEGACY_TLS,
    toolchain,
    workspace::Workspace,
};

type Check = fn(&Workspace) -> Result<()>;

const CHECKS: [(&str, Check); 6] = [
    ("formatting", formatting),
    ("clippy for user code", user_code),
    ("clippy for TLS of old clients", old_clients),
    ("the build with ring", with_ring),
    ("clippy for kernel code", ebpf::lint),
    ("documentation", documentation),
];

pub(crate) fn execute(workspace: &Workspace) -> Result<()> {
    let mut refused = Vec::new();
    for (name, check) in CHECKS {
        if let Err(error) = step(name, || check(workspace)) {
            eprintln!("xtask: {error:#}");
            refused.push(name);
        }
    }
    if !refused.is_empty() {
        bail!("refused by: {}", refused.join(", "));
    }
    Ok(())
}

fn formatting(workspace: &Workspace) -> Result<()> {
    toolchain::ensure_component(workspace, "fmt", "rustfmt")?;
    run(workspace.cargo("fmt").args(["--all", "--check"]))
}

fn user_code(workspace: &Workspace) -> Result<()> {
    toolchain::ensure_component(workspace, "clippy", "clippy")?;
    run(workspace.cargo("clippy").args(USERSPACE).args(["--all-targets", "--", "--deny", "warnings"]))
}

/// The feature that no other check builds. Of all packages, so that what they depend on is built as it is already; without
/// their tests, which would be linted twice.
fn old_clients(workspace: &Workspace) -> Result<()> {
    apt::ensure(&LEGACY_TLS, "TLS of old clients")?;
    let mut cargo = workspace.cargo("clippy");
    run(cargo.args(USERSPACE).args(["--lib", "--features", "spectrum-user/legacy-tls", "--", "--deny", "warnings"]))
}

/// The other library of cryptography.
fn with_ring(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo("check");
    cargo.args(["--package", "spectrum-user", "--lib", "--no-default-features", "--features", "ring"]);
    run(&mut cargo)
}

fn documentation(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo("doc");
    cargo.args(USERSPACE).args(["--no-deps", "--document-private-items"]);
    run(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
}
