//! Privileges: as they are for root, through sudo for everyone else.

use std::{
    ffi::{OsStr, OsString},
    process::Command,
};

use anyhow::{Result, bail};

use crate::command::succeeds;

/// Where ip, nft, bpftool, haproxy and nginx are, whoever called.
pub(crate) const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that runs as root, with these variables. sudo drops the environment, so it is spelled out.
pub(crate) fn command<'a>(
    program: impl AsRef<OsStr>,
    environment: impl IntoIterator<Item = (&'a str, OsString)>,
) -> Result<Command> {
    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new(program);
        command.envs(environment);
        return Ok(command);
    }
    if !succeeds(Command::new("sudo").arg("--version")) {
        bail!(
            "`{}` needs root, and there is no sudo: install sudo, or run cargo xtask as root",
            program.as_ref().display()
        );
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg("env");
    for (name, value) in environment {
        let mut pair = OsString::from(name);
        pair.push("=");
        pair.push(value);
        command.arg(pair);
    }
    command.arg(program);
    Ok(command)
}
