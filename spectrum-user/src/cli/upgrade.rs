//! `spectrum upgrade`: another program takes over from the running daemon, or the daemon says why not.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use hyper::Method;

use super::{
    control,
    instance::chosen,
    operator,
    output::{self, Output},
};
use crate::{
    daemon::{UpgradeRequest, Upgraded},
    model::Instance,
};

/// Longer than the daemon waits for a successor.
const PATIENCE: Duration = Duration::from_mins(4);

pub(super) async fn upgrade(
    named: Option<Instance>,
    binary: Option<PathBuf>,
    force: bool,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let instance = chosen(named)?;
    let request = serde_json::to_value(UpgradeRequest { binary, wishes: operator::wishes(force) })?;
    let answer = control::send::<Upgraded>(&instance, Method::POST, "/upgrade", Some(&request), PATIENCE).await?;
    let Some(answer) = answer else {
        anyhow::bail!("no daemon of instance `{instance}` answers: `spectrum run` starts one");
    };
    let Some(upgraded) = output::accepted(answer) else { return Ok(ExitCode::FAILURE) };
    match output {
        Output::Json => output::json(&upgraded)?,
        Output::Table => {
            let Upgraded { pid, version, predecessor, drain } = upgraded;
            output::line(&format!(
                "instance `{instance}` is served by process {pid}, spectrum {version}; open connections of process \
                 {predecessor} have {drain} to finish\n"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
