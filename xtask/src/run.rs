//! `cargo xtask run`: builds Spectrum and becomes it.
//!
//! The release profile, because whoever runs this wants to see what the program does, at the speed it has.

use std::{env, ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::Context as _;
use clap::Args;

use crate::{build::Build, command, root, workspace::Workspace};

#[derive(Args)]
pub(crate) struct Run {
    /// Arguments of `spectrum run`; without any, the quickstart
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

impl Run {
    pub(crate) fn execute(&self, workspace: &Workspace) -> anyhow::Result<()> {
        Build { release: true }.execute(workspace)?;
        let program = workspace.profile(true).join("spectrum");
        let kept = ["RUST_LOG", "RUST_BACKTRACE"].into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
        let mut spectrum = root::command(program, kept)?;
        if self.arguments.is_empty() {
            spectrum.arg("quickstart");
        } else {
            spectrum.arg("run").args(&self.arguments);
        }
        eprintln!("xtask: starting `{}`", command::line(&spectrum));
        // In our place, so that Ctrl-C and the exit status are its own.
        Err(spectrum.exec()).with_context(|| format!("cannot start `{}`", command::line(&spectrum)))
    }
}
