//! `spectrum run`.

use std::{path::Path, process::ExitCode};

use crate::daemon::{self, Source};

pub(super) async fn run(config: &Path) -> anyhow::Result<ExitCode> {
    daemon::run(Source::File(config.to_owned())).await?;
    Ok(ExitCode::SUCCESS)
}
