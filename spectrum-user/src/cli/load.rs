//! `spectrum load`: the shield without a daemon.

use std::{path::Path, process::ExitCode, time::SystemTime};

use anyhow::Context as _;
use spectrum_common::layout::Owner;

use super::{
    operator,
    output::{self, Output},
};
use crate::{
    config,
    daemon::{Blocked, OPERATOR, Standing, require, with_kept_rules},
    dataplane::{attach::AttachedXdp, instance::KernelInstance, netlink::Netlink, status},
    geo::Databases,
    proxy::AccessRules,
    state,
};

pub(super) async fn load(path: &Path, force: bool, output: Output) -> anyhow::Result<ExitCode> {
    let addresses = state::host_addresses()?;
    let config = config::load(path, &addresses)?;
    let mut desired = state::desired_kept(&config, &addresses)?;
    require()?;
    with_kept_rules(&mut desired, &config.node)?;
    let now = SystemTime::now();
    desired.rules.retain(|rule| !rule.has_ended(now));
    let databases = Databases::load(&config.node.geo, &|line| eprintln!("{line}"))
        .map_err(|error| config.database_error(&error))?;
    if !force {
        let rules = AccessRules::new(&desired.rules);
        let standing = Standing { applications: &desired.applications, rules: &rules, table: &databases.table };
        standing.refuse(&Blocked::default(), &desired.rules, &operator::addresses(), OPERATOR)?;
    }
    let netlink = Netlink::open().context("open netlink")?;
    let node = &config.node;
    let mut kernel = KernelInstance::open(&node.instance, Owner::Load, 0)?;
    if let Err(error) = async {
        kernel.set_geo(&databases.table, node.geo.memory)?;
        kernel.reconcile(&desired, &netlink).await?;
        kernel.attach(&node.filter, &netlink).await
    }
    .await
    {
        // What an earlier load left keeps filtering; a first one that failed leaves nothing.
        if !kernel.adopted() {
            kernel.remove(&netlink).await?;
        }
        return Err(error.into());
    }
    for shortfall in kernel.attached().iter().filter_map(AttachedXdp::shortfall) {
        eprintln!("note: {shortfall}");
    }
    if let Some(end) = desired.rules.iter().filter_map(|rule| rule.expires_on).min() {
        let end = humantime::format_rfc3339_seconds(end);
        eprintln!("note: rules end only while a daemon runs; the first is to end at {end}");
    }
    let status = status::status(kernel.pins(), &netlink).await?;
    match output {
        Output::Json => output::json(&status)?,
        Output::Table => output::line(&format!(
            "instance `{}` is loaded: {} applications, revision {}; `spectrum unload --instance {}` takes it away\n",
            node.instance,
            desired.applications.len(),
            status.map_or(0, |status| status.revision),
            node.instance
        )),
    }
    Ok(ExitCode::SUCCESS)
}
