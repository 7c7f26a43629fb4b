//! `cargo xtask build`: the kernel programs, then the binary that carries them.

use clap::Args;

use crate::{
    command::{run, step},
    ebpf,
    workspace::{Workspace, relative},
};

#[derive(Args)]
pub(crate) struct Build {
    /// Optimise the binary (the kernel programs always are)
    #[arg(long)]
    pub(crate) release: bool,
}

impl Build {
    pub(crate) fn execute(&self, workspace: &Workspace) -> anyhow::Result<()> {
        ebpf::build(workspace)?;
        step("the binary spectrum", || {
            let mut cargo = workspace.cargo("build");
            cargo.args(["--package", "spectrum-user", "--bin", "spectrum"]);
            if self.release {
                cargo.arg("--release");
            }
            run(&mut cargo)
        })?;
        eprintln!("xtask: built {}", relative(&workspace.profile(self.release).join("spectrum"), workspace));
        Ok(())
    }
}
