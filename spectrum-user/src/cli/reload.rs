//! `spectrum reload`: the running daemon applies the edited file, or says why not.

use std::{process::ExitCode, time::Duration};

use hyper::Method;

use super::{
    control,
    instance::chosen,
    operator,
    output::{self, Output},
};
use crate::{daemon::Reloaded, model::Instance};

/// Databases are read first, and the limit for that is a minute.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) async fn reload(named: Option<Instance>, force: bool, output: Output) -> anyhow::Result<ExitCode> {
    let instance = chosen(named)?;
    let wishes = serde_json::to_value(operator::wishes(force))?;
    let answer = control::send::<Reloaded>(&instance, Method::POST, "/reload", Some(&wishes), PATIENCE).await?;
    let Some(answer) = answer else {
        anyhow::bail!("no daemon of instance `{instance}` answers: `spectrum run` starts one");
    };
    let Some(reloaded) = output::accepted(answer) else { return Ok(ExitCode::FAILURE) };
    match output {
        Output::Json => output::json(&reloaded)?,
        Output::Table => {
            for message in &reloaded.messages {
                eprintln!("{message}");
            }
            output::line(&format!("instance `{instance}` is reloaded: {}\n", reloaded.summary()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
