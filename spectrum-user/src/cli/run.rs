//! `spectrum run`.

use std::{path::Path, process::ExitCode};

use crate::{
    daemon::{self, Source},
    dataplane::diagnostics::KernelLog,
};

pub(super) async fn run(config: &Path, kernel_log: KernelLog) -> anyhow::Result<ExitCode> {
    daemon::run(Source::File(config.to_owned()), kernel_log).await?;
    Ok(ExitCode::SUCCESS)
}
