//! `spectrum doctor`.

use std::process::ExitCode;

use anyhow::Context as _;

use super::output::{self, Output};
use crate::dataplane::{
    netlink::{Framing, Netlink},
    probe::{self, Finding, State},
};

pub(super) async fn doctor(output: Output) -> anyhow::Result<ExitCode> {
    let mut findings = probe::all();
    findings.extend(interfaces().await?);
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    match output {
        Output::Json => output::json(&findings)?,
        Output::Table => show(&findings),
    }
    Ok(if worst == State::Missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Which interfaces there are, and what sits on them.
async fn interfaces() -> anyhow::Result<Vec<Finding>> {
    let netlink = Netlink::open().context("open netlink")?;
    let found = netlink.interfaces().await?;
    Ok(found
        .into_iter()
        .map(|interface| {
            let what = format!("interface {}", interface.name);
            if let Framing::Other(framing) = interface.framing {
                return Finding::ok(&what, format!("no Ethernet frames (link type {framing}): not for `interfaces`"));
            }
            let found = if let Some(xdp) = interface.xdp {
                format!("XDP program {}, {}", xdp.program_id, xdp.mode.as_str())
            } else {
                let driver = probe::driver(&interface.name);
                format!("no XDP program; {}", driver.as_deref().unwrap_or("no driver of its own"))
            };
            Finding::ok(&what, found)
        })
        .collect())
}

fn show(findings: &[Finding]) {
    let mut table = output::table(&["", "WHAT", "FOUND", "WHAT TO DO"]);
    for finding in findings {
        let state = match finding.state {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Missing => "MISSING",
        };
        let advice = finding.advice.as_deref().unwrap_or_default();
        table.add_row([state, &finding.what, &finding.detail, advice]);
    }
    output::show(&table);
}
