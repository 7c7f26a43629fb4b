//! `cargo xtask lint`: what CI refuses: formatting, warnings of clippy in user and kernel code, and of rustdoc.
//!
//! Every check runs whatever the others say, so that one run shows everything.

use anyhow::{Result, bail};

use crate::{
    artifacts::USERSPACE,
    command::{run, step},
    ebpf, toolchain,
    workspace::Workspace,
};

type Check = fn(&Workspace) -> Result<()>;

const CHECKS: [(&str, Check); 4] = [
    ("formatting", formatting),
    ("clippy for user code", user_code),
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

fn documentation(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo("doc");
    cargo.args(USERSPACE).args(["--no-deps", "--document-private-items"]);
    run(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
}
