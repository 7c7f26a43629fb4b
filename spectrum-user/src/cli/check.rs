//! `spectrum check`: everything short of attaching.

use std::{path::Path, process::ExitCode, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use serde::Serialize;

use super::{
    operator,
    output::{self, Output},
};
use crate::{
    acme::Challenges,
    config::{self, Diagnostic},
    daemon::{AnswerStatus, Blocked, Hosts, OPERATOR, Standing, certificates, respond},
    dataplane::{
        image::{MapImage, image},
        netlink::Netlink,
    },
    geo::{Databases, Table},
    model::{DesiredState, Node},
    proxy::{AccessRules, AppTable},
    state,
    telemetry::Metrics,
    tls::{Shared, certificates::Live},
};

#[derive(Serialize)]
struct Checked<'a> {
    ok: bool,
    diagnostics: &'a [Diagnostic],
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
}

#[derive(Serialize)]
struct Summary {
    applications: usize,
    access_rules: usize,
    pools: usize,
    steering_entries: usize,
    /// Where challenges of directories are answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    challenges: Vec<Challenge>,
    /// In the databases of `[geo]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<usize>,
}

#[derive(Serialize)]
struct Challenge {
    host: String,
    #[serde(flatten)]
    answer: AnswerStatus,
}

pub(super) async fn check(path: &Path, output: Output) -> anyhow::Result<ExitCode> {
    match checked(path).await {
        Ok((notes, summary)) => {
            match output {
                Output::Json => output::json(&Checked { ok: true, diagnostics: &notes, summary: Some(summary) })?,
                Output::Table => {
                    for note in &notes {
                        eprint!("{note}");
                    }
                    output::line(&format!(
                        "{} is right: {} applications, {} access rules, {} pools, {} steering entries\n",
                        path.display(),
                        summary.applications,
                        summary.access_rules,
                        summary.pools,
                        summary.steering_entries
                    ));
                    for Challenge { host, answer } in &summary.challenges {
                        output::line(&format!("challenges for {host} are answered at {answer}\n"));
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => match (output, output::config_errors(&error)) {
            (Output::Json, Some(errors)) => {
                output::json(&Checked { ok: false, diagnostics: errors.as_slice(), summary: None })?;
                Ok(ExitCode::FAILURE)
            }
            _ => Err(error),
        },
    }
}

/// Interfaces of the file that this host does not have. The program goes onto all of them or none.
async fn interfaces(node: &Node) -> anyhow::Result<()> {
    let present = Netlink::open().context("open netlink")?.interfaces().await?;
    let exists = |name: &String| present.iter().any(|interface| interface.name == *name);
    let missing: Vec<&str> = node.filter.wanted().iter().filter(|name| !exists(name)).map(String::as_str).collect();
    let existing: Vec<&str> = present.iter().map(|interface| interface.name.as_str()).collect();
    anyhow::ensure!(
        missing.is_empty(),
        "node.interfaces: there is no `{}` on this host; there are {}",
        missing.join("`, `"),
        existing.join(", ")
    );
    Ok(())
}

/// What keeps TLS from being as the file wants it, and where challenges are answered. Files of certificates change without the
/// configuration, so none of it is an error.
fn tls(desired: &DesiredState, node: &Node, path: &Path) -> (Vec<Diagnostic>, Vec<Challenge>) {
    let (_, certificates) = certificates(node, SystemTime::now());
    // Nobody is asked, but what is missing is not the operator's to bring.
    let challenges = node.tls.acme.as_ref().map(|_| Arc::new(Challenges::default()) as _);
    let shared = Shared { certificates: Live::new(certificates), challenges, ..Shared::default() };
    let table = AppTable::new(desired, Arc::default(), &shared, None, &Metrics::new(1));
    let path = path.display().to_string();
    let note = |problem| Diagnostic::note(&path, problem, "it is served as soon as the files are in order".to_owned());
    let mut notes: Vec<_> = table.tls_problems().into_iter().map(note).collect();
    let Some(acme) = &node.tls.acme else { return (notes, Vec::new()) };
    let hosts = Hosts::of(&table, acme.challenge);
    let asked_in_vain = |(host, why): (&str, &str)| {
        let help = "nobody is asked for it until then".to_owned();
        Diagnostic::note(&path, format!("{host}: no certificate from the directory: {why}"), help)
    };
    notes.extend(hosts.unanswered().map(asked_in_vain));
    let answered = hosts.all_answers();
    let challenges = answered.map(|(host, answer)| Challenge { host: host.to_owned(), answer: (&answer).into() });
    (notes, challenges.collect())
}

/// Block rules that name where the operator is connected from.
fn cut_off(desired: &DesiredState, table: &Table, path: &Path) -> Vec<Diagnostic> {
    let rules = AccessRules::new(&desired.rules);
    let standing = Standing { applications: &desired.applications, rules: &rules, table };
    let cut = standing.cut_off(&Blocked::default(), &operator::addresses()).into_iter();
    let notes =
        cut.map(|cut| Diagnostic::note(&path.display().to_string(), cut.message(&desired.rules, OPERATOR), cut.help()));
    notes.collect()
}

async fn checked(path: &Path) -> anyhow::Result<(Vec<Diagnostic>, Summary)> {
    let addresses = state::host_addresses()?;
    let config = config::load(path, &addresses)?;
    let mut desired = state::desired(&config, &addresses)?;
    respond(&mut desired, &config.node);
    interfaces(&config.node).await?;
    let databases = Databases::load(&config.node.geo, &|_| ()).map_err(|error| config.database_error(&error))?;
    let image = image(&desired, &MapImage::default())?;
    let (told, challenges) = tls(&desired, &config.node, path);
    let summary = Summary {
        applications: desired.applications.len(),
        access_rules: desired.rules.len(),
        pools: desired.edge.pools.len(),
        steering_entries: image.steer.len(),
        challenges,
        networks: databases.files.iter().map(|file| file.networks).collect(),
    };
    let mut notes = config.notes;
    notes.extend(cut_off(&desired, &databases.table, path));
    notes.extend(told);
    Ok((notes, summary))
}
