//! What TLS has at the start, and who is told of certificates that end.

use std::{sync::Arc, time::SystemTime};

use anyhow::Context as _;
use tokio::sync::watch;

use super::acme::{self, Acme, Wanted};
use crate::{
    model::Node,
    proxy::AppTable,
    telemetry::{EventLog, NodeEvent, NodeEventKind},
    tls::{
        Keeper, SealKey, Shared, TicketKeys,
        certificates::{Certificates, Live, Notice, Source, Stage, Store},
    },
};

/// Reads certificates and ticket keys. What is wrong with them is told, and keeps nothing else from starting.
pub(super) fn open(node: &Node, acme: Option<&Acme>) -> (Shared, Store) {
    let now = SystemTime::now();
    let (store, certificates) = certificates(node, now);
    for report in certificates.report(now) {
        if report.problems.is_empty() {
            log::info!("{report}");
        } else {
            log::error!("{report}");
        }
    }
    let seal_key = node.tls.seal_key.clone().map_or(SealKey::Own, SealKey::File);
    let (tickets, problem) = TicketKeys::open(&node.state_dir, seal_key, now);
    if let Some(problem) = problem {
        log::warn!("{problem}");
    }
    let shared = Shared {
        certificates: Live::new(certificates),
        tickets: Arc::new(tickets),
        handshakes: node.tls.handshakes,
        challenges: acme.map(Acme::challenges),
    };
    (shared, store)
}

/// The certificates that the node names, as they are now.
pub fn certificates(node: &Node, now: SystemTime) -> (Store, Arc<Certificates>) {
    let files = node.tls.certificates.iter().cloned().map(Source::from);
    Store::open(files.chain(acme::source(node)).collect(), now)
}

/// Keeps them up to date from now on: the one process that does.
pub(super) fn keep(
    tables: &watch::Receiver<Arc<AppTable>>,
    store: Store,
    shared: Shared,
    events: &EventLog,
    wanted: Option<Wanted>,
) -> anyhow::Result<Keeper> {
    let events = events.clone();
    let tell = move |notice: &Notice| tell(notice, &events);
    let looked = move |table: &AppTable| wanted.iter().for_each(|wanted| wanted.follow(table));
    Keeper::start(tables.clone(), store, shared, tell, looked).context("start the thread that keeps certificates")
}

fn tell(notice: &Notice, events: &EventLog) {
    let Notice { stage, hostname, path, certificate } = notice;
    let until = certificate.until();
    let (path, names) = (path.display().to_string(), certificate.names.join(", "));
    match stage {
        Stage::Expired => log::error!("{path}: the certificate for {names} has expired on {until}"),
        Stage::Month | Stage::Week | Stage::Day => log::warn!("{path}: the certificate for {names} ends on {until}"),
    }
    let event = NodeEvent::now(NodeEventKind::CertificateEnding)
        .with("path", path)
        .with("names", names)
        .with("not_after", until)
        .with("expired", *stage == Stage::Expired);
    events.tell(match hostname {
        Some(hostname) => event.with("hostname", hostname.clone()),
        None => event,
    });
}
