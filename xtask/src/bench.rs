//! `cargo xtask bench`: the measuring program of package `spectrum-tests`, in the same private namespaces as the tests.

use std::{env, ffi::OsString, time::Duration};

use clap::Args;

use crate::{
    apt,
    command::{run, step},
    ebpf, sandbox, test,
    workspace::Workspace,
};

/// A whole run with every peer takes minutes; one that takes this long hangs.
const LIMIT: Duration = Duration::from_hours(1);
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
        let environment = [
            ("SPECTRUM_BIN", profile.join("spectrum").into_os_string()),
            ("SPECTRUM_OBJECT", workspace.object().into_os_string()),
            ("PATH", env::var_os("PATH").unwrap_or_default()),
        ];
        run(sandbox::command(&profile.join(BINARY), environment, LIMIT)?.args(&self.arguments))
    }
}
