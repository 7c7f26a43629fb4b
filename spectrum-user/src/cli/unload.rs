//! `spectrum unload`: leaves no trace.

use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::{
    instance::chosen,
    output::{self, Output},
};
use crate::{
    daemon::require,
    dataplane::{instance, netlink::Netlink},
    model::Instance,
    shield,
};

#[derive(Serialize)]
struct Unloaded {
    instance: String,
    /// False: nothing was loaded.
    unloaded: bool,
}

pub(super) async fn unload(named: Option<Instance>, output: Output) -> anyhow::Result<ExitCode> {
    let instance = chosen(named)?;
    require()?;
    let netlink = Netlink::open().context("open netlink")?;
    let unloaded = instance::unload(&instance, &netlink).await?;
    shield::restore(&instance)?;
    match output {
        Output::Json => output::json(&Unloaded { instance: instance.to_string(), unloaded })?,
        Output::Table if unloaded => output::line(&format!("instance `{instance}` is unloaded\n")),
        Output::Table => output::line(&format!("instance `{instance}` was not loaded: nothing to do\n")),
    }
    Ok(ExitCode::SUCCESS)
}
