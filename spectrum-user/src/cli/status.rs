//! `spectrum status`: what the kernel holds, and what the daemon says.

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    control,
    instance::chosen,
    output::{self, Output},
};
use crate::{
    daemon::{AcmeStatus, AppStatus, CertificateStatus, DaemonStatus, GeoReport, require},
    dataplane::{
        netlink::Netlink,
        pins::Pins,
        rule_table::RuleTableStatus,
        status::{self, KernelStatus},
    },
    model::Instance,
    shield::{Kind, describe_portrait},
};

#[derive(Serialize)]
struct Status {
    instance: String,
    ready: bool,
    kernel: Option<KernelStatus>,
    daemon: Option<DaemonStatus>,
}

/// Between two looks while waiting.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn status(named: Option<Instance>, wait: Duration, output: Output) -> anyhow::Result<ExitCode> {
    require()?;
    let netlink = Netlink::open().context("open netlink")?;
    let deadline = Instant::now() + wait;
    let status = loop {
        let status = look(named.clone(), &netlink).await?;
        if status.ready || Instant::now() >= deadline {
            break status;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let ready = status.ready;
    match output {
        Output::Json => output::json(&status)?,
        Output::Table => show(&status),
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look(named: Option<Instance>, netlink: &Netlink) -> anyhow::Result<Status> {
    let instance = chosen(named)?;
    let daemon: Option<DaemonStatus> = control::get(&instance, "/status").await?;
    let kernel = status::status(&Pins::of(&instance), netlink).await?;
    let ready = daemon.as_ref().is_some_and(|daemon| daemon.ready) && kernel.is_some();
    Ok(Status { instance: instance.to_string(), ready, kernel, daemon })
}

fn show(status: &Status) {
    let Status { instance, kernel, daemon, .. } = status;
    match (kernel, daemon) {
        (None, None) => output::line(&format!("instance `{instance}`: not loaded\n")),
        (None, Some(_)) => output::line(&format!("instance `{instance}`: a daemon runs, but its pins are gone\n")),
        (Some(kernel), None) => output::line(&format!(
            "instance `{instance}`: loaded by `spectrum {}`, revision {}; no daemon runs: packets are filtered, nothing is served\n",
            kernel.owner, kernel.revision
        )),
        (Some(kernel), Some(daemon)) => output::line(&format!(
            "instance `{instance}`: {}, process {} of spectrum {}, revision {}, listening behind {}\n",
            if daemon.ready { "ready" } else { "not ready" },
            daemon.pid,
            daemon.version,
            kernel.revision,
            daemon.listening
        )),
    }
    if let Some(daemon) = daemon {
        show_daemon(daemon);
    }
    if let Some(kernel) = kernel {
        show_kernel(kernel);
    }
}

fn show_daemon(daemon: &DaemonStatus) {
    if let Some(problem) = &daemon.problem {
        output::line(&format!("the last change was not applied: {problem}\n"));
    }
    if let Some(protection) = &daemon.protection {
        let floods = match &protection.floods[..] {
            [] => "`syn_cookies` of an application is \"always\"".to_owned(),
            floods => format!("SYN flood on {}", floods.join(", ")),
        };
        output::line(&format!("protected mode: every SYN to this host gets a cookie ({floods})\n"));
    }
    // A SYN flood is told with the protected mode.
    for flood in daemon.floods.iter().filter(|flood| flood.kind == Kind::Orphans.as_str()) {
        output::line(&format!("flood of segments of no connection on {}: they are dropped\n", flood.name));
    }
    for flood in daemon.floods.iter().filter(|flood| !flood.portrait.is_empty()) {
        let of = if flood.kind == Kind::Orphans.as_str() { "segments" } else { "SYNs" };
        output::line(&format!("the {of} to {}: {}\n", flood.name, describe_portrait(&flood.portrait)));
    }
    if let Some(geo) = &daemon.geo {
        show_geo(geo);
    }
    for predecessor in &daemon.predecessors {
        output::line(&format!(
            "process {} was upgraded and drains: {} connections left\n",
            predecessor.pid, predecessor.connections
        ));
    }
    for left in &daemon.left_out {
        output::line(&format!("{left}\n"));
    }
    let rules = &daemon.rules;
    if rules.operator + rules.auto > 0 {
        output::line(&format!(
            "access rules: {} of the file, {} of operators, {} automatic (`spectrum rule list`)\n",
            rules.file, rules.operator, rules.auto
        ));
    }
    for degraded in &daemon.degraded {
        output::line(&format!("degraded: {degraded}\n"));
    }
    let mut table = output::table(&["APPLICATION", "PROTOCOL", "EDGE IPS", "ORIGINS", "FIREWALL", "OPEN", "SERVED"]);
    for app in &daemon.applications {
        let edge_ips: Vec<String> = app.edge_ips.iter().map(ToString::to_string).collect();
        table.add_row([
            app.hostname.clone(),
            protocol(app),
            edge_ips.join(" "),
            origins(app),
            if app.ip_firewall { "on" } else { "off" }.to_owned(),
            app.connections_active.to_string(),
            app.connections_opened.to_string(),
        ]);
    }
    output::line("\n");
    output::show(&table);
    if !daemon.certificates.is_empty() {
        show_certificates(&daemon.certificates);
    }
    if !daemon.acme.is_empty() {
        show_acme(&daemon.acme);
    }
}

fn show_certificates(certificates: &[CertificateStatus]) {
    let mut table = output::table(&["CERTIFICATE", "FOR", "KEY", "UNTIL", "PROBLEMS"]);
    for certificate in certificates {
        let until = certificate.not_after.and_then(|end| OffsetDateTime::from_unix_timestamp(end).ok());
        table.add_row([
            certificate.path.display().to_string(),
            certificate.names.join(" "),
            certificate.key_type.clone().unwrap_or_default(),
            until.map_or_else(String::new, |until| until.date().to_string()),
            certificate.problems.len().to_string(),
        ]);
    }
    output::line("\n");
    output::show(&table);
}

fn show_acme(hosts: &[AcmeStatus]) {
    let mut table =
        output::table(&["ASKED FOR AT THE DIRECTORY", "STATE", "UNTIL", "NEXT TRY", "ANSWERED AT", "PROBLEM"]);
    let date = |seconds: Option<i64>| {
        let time = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let time = time.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        time.map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string())
    };
    for host in hosts {
        table.add_row([
            host.host.clone(),
            host.state.clone(),
            date(host.not_after),
            date(host.next_try),
            host.answers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            host.problem.clone().unwrap_or_default(),
        ]);
    }
    output::line("\n");
    output::show(&table);
}

/// With what is done about TLS, and by which names clients choose the application.
fn protocol(app: &AppStatus) -> String {
    let mut protocol = app.protocol.clone();
    if !app.tls.is_empty() && app.tls != "off" {
        protocol = format!("{protocol} (TLS {})", app.tls);
    }
    if !app.sni.is_empty() {
        protocol = format!("{protocol} for {}", app.sni.join(", "));
    }
    protocol
}

/// The name, if there is one, and each origin; what is wrong with it in brackets.
fn origins(app: &AppStatus) -> String {
    let each = app.origins.iter().map(|origin| match &origin.failure {
        Some(failure) => format!("{} (down: {failure})", origin.address),
        None => origin.address.clone(),
    });
    app.origin_dns.clone().into_iter().chain(each).collect::<Vec<_>>().join("\n")
}

fn show_geo(geo: &GeoReport) {
    for database in &geo.databases {
        output::line(&format!(
            "{} database: {} ({}), {} networks, built {}, loaded {}\n",
            database.kind, database.file, database.database_type, database.networks, database.built, database.loaded
        ));
    }
    output::line(&format!(
        "networks and countries: {} IPv4 and {} IPv6 ranges, {:.1} MB of the kernel's memory ({})\n",
        geo.ranges_v4,
        geo.ranges_v6,
        megabytes(geo.bytes),
        geo.memory
    ));
    if let Some(problem) = &geo.problem {
        output::line(&format!("a newer database is not in use: {problem}\n"));
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// How the programs ask about rules by prefix.
fn rule_table(table: RuleTableStatus) -> String {
    let slow = match table {
        RuleTableStatus { holds_v4: true, holds_v6: true, .. } => "",
        RuleTableStatus { holds_v4: false, holds_v6: true, .. } => {
            ", those for IPv4 only in their trie, which is slower"
        }
        RuleTableStatus { holds_v4: true, holds_v6: false, .. } => {
            ", those for IPv6 only in their trie, which is slower"
        }
        RuleTableStatus { .. } => ", but they are only in their tries, which is slower",
    };
    format!(" (a table of {} KiB{slow})", table.bytes >> 10)
}

fn show_kernel(kernel: &KernelStatus) {
    let mut table = output::table(&["ATTACHED", "WHERE", "MODE", "PROGRAM", "LINK"]);
    if let Some(steering) = kernel.steering {
        table.add_row([
            "steering".to_owned(),
            "this network namespace".to_owned(),
            "sk_lookup".to_owned(),
            steering.program_id.to_string(),
            steering.link_id.to_string(),
        ]);
    }
    for interface in &kernel.interfaces {
        table.add_row([
            "filter".to_owned(),
            interface.name.clone(),
            interface.mode.clone(),
            interface.link.program_id.to_string(),
            interface.link.link_id.to_string(),
        ]);
    }
    output::line("\n");
    output::show(&table);
    output::line(&format!(
        "\npins in {}: {} applications in {} steering entries, {} + {} rule prefixes{}, {} networks, {} countries\n\n",
        kernel.pins,
        kernel.entries.applications,
        kernel.entries.steer,
        kernel.entries.rules_v4,
        kernel.entries.rules_v6,
        kernel.rule_table.map_or_else(String::new, rule_table),
        kernel.entries.asn_rules,
        kernel.entries.country_rules
    ));
    let mut table = output::table(&["VERDICT", "PACKETS", "BYTES"]);
    for count in kernel.counters.iter().filter(|count| count.packets > 0) {
        table.add_row([count.reason.clone(), count.packets.to_string(), count.bytes.to_string()]);
    }
    output::show(&table);
}
