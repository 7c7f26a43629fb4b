//! `spectrum run`.

use std::{path::Path, process::ExitCode};

use super::operator;
use crate::{
    daemon::{self, Source},
    dataplane::diagnostics::KernelLog,
};

pub(super) async fn run(config: &Path, kernel_log: KernelLog, force: bool) -> anyhow::Result<ExitCode> {
    daemon::run(Source::File(config.to_owned()), kernel_log, &operator::wishes(force)).await?;
    Ok(ExitCode::SUCCESS)
}
