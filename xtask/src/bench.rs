//! `cargo xtask bench`: the measuring program of package `spectrum-tests`, which makes private namespaces of its own.

use std::ffi::OsString;

use clap::Args;

use crate::{
    apt,
    command::{run, step},
    ebpf,
    root::{self, ROOT_PATH},
    test,
    workspace::Workspace,
};

const BINARY: &str = "spectrum-bench";

#[derive(Args)]
pub(crate) struct Bench {
    /// Arguments of the measuring program; `cargo xtask bench -- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Bench {
    pub(crate) fn execute(&self, workspace: &Workspace) -> anyhow::Result<()> {
        apt::ensure(&test::TOOLS, "benchmarks")?;
        ebpf::build(workspace)?;
        step("the binaries, optimised", || {
            let mut cargo = workspace.cargo("build");
            cargo.args(["--release", "--package", "spectrum-user", "--package", "spectrum-tests"]);
            run(cargo.args(["--bin", "spectrum", "--bin", BINARY]))
        })?;
        let profile = workspace.profile(true);
        // Root's PATH: haproxy and nginx lie in /usr/sbin, and sudo may know another.
        let environment = [("PATH", ROOT_PATH.into())];
        let mut bench = root::command(profile.join(BINARY), environment)?;
        run(bench.arg("--spectrum").arg(profile.join("spectrum")).args(&self.arguments))
    }
}
