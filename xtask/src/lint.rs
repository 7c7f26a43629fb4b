//! `cargo xtask lint`: what CI refuses: formatting, warnings of clippy in user and kernel code, and of rustdoc.

use crate::{
    artifacts::USERSPACE,
    command::{run, step},
    ebpf,
    workspace::Workspace,
};

pub(crate) fn execute(workspace: &Workspace) -> anyhow::Result<()> {
    step("formatting", || run(workspace.cargo("fmt").args(["--all", "--check"])))?;
    step("clippy for user code", || {
        run(workspace.cargo("clippy").args(USERSPACE).args(["--all-targets", "--", "--deny", "warnings"]))
    })?;
    ebpf::lint(workspace)?;
    step("documentation", || {
        let mut cargo = workspace.cargo("doc");
        cargo.args(USERSPACE).args(["--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "--deny warnings");
        run(&mut cargo)
    })
}
