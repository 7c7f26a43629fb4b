//! Certificates from a directory, as far as the edge has to do with them: which hostnames they are asked for, where its
//! challenges are answered, and how it stands with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use tokio::sync::watch;

use crate::{
    acme::{Challenges, HostReport, HostState, Keeper, Pace, Reports, certificates},
    model::{self, Node},
    proxy::{App, AppTable, EdgeAddr},
    tls::{Challenged, certificates::Source, own_hosts},
};

/// Where a directory looks at the answer to TLS-ALPN-01 (RFC 8737, section 3).
const PORT: u16 = 443;

/// What `[tls.acme]` asks for, before anything runs.
pub(super) struct Acme {
    settings: model::Acme,
    state_dir: PathBuf,
    challenges: Challenges,
}

/// Hostnames that terminate TLS here, and have no certificate from an operator's file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// Sorted.
    pub(super) wanted: Vec<String>,
    /// Those whose challenges nobody could answer, and the address where.
    unanswered: BTreeMap<String, IpAddr>,
}

/// Who hears which hostnames are wanted.
pub(super) struct Wanted(watch::Sender<Vec<String>>);

impl Acme {
    pub(super) fn of(node: &Node) -> Option<Self> {
        let settings = node.tls.acme.clone()?;
        Some(Self { settings, state_dir: node.state_dir.clone(), challenges: Challenges::default() })
    }

    pub(super) fn challenges(&self) -> Arc<dyn Challenged> {
        Arc::new(self.challenges.clone())
    }

    /// Orders and renews from now on: in the one process that does.
    pub(super) fn keep(self, table: &AppTable) -> anyhow::Result<(Keeper, Wanted)> {
        let Self { settings, state_dir, challenges } = self;
        let (wanted, wishes) = watch::channel(Hosts::of(table).wanted);
        let keeper = Keeper::start(settings, &state_dir, wishes, challenges, Pace::default());
        Ok((keeper.context("start the thread that asks for certificates")?, Wanted(wanted)))
    }
}

/// What was obtained. An operator's file is used in its place.
pub(super) fn source(node: &Node) -> Option<Source> {
    node.tls.acme.as_ref()?;
    Some(Source { path: certificates(&node.state_dir), may_be_absent: true, yields: true })
}

impl Wanted {
    /// Says which hostnames are wanted now.
    pub(super) fn follow(&self, table: &AppTable) {
        let Hosts { wanted, .. } = Hosts::of(table);
        self.0.send_if_modified(|before| {
            let changes = *before != wanted;
            *before = wanted;
            changes
        });
    }
}

impl Hosts {
    pub(super) fn of(table: &AppTable) -> Self {
        let certificates = table.tls().certificates.newest();
        let terminated = table.apps().filter(|app| app.edge_tls.is_some()).flat_map(|app| hosts_of(app));
        let names: BTreeSet<&str> = terminated.filter(|host| !certificates.has_own(host)).collect();
        let mut hosts = Self::default();
        for name in names {
            match unanswered(table, name) {
                None => hosts.wanted.push(name.to_owned()),
                Some(address) => drop(hosts.unanswered.insert(name.to_owned(), address)),
            }
        }
        hosts
    }

    /// How all of them stand, sorted.
    pub(super) fn report(&self, reports: &Reports) -> Vec<HostReport> {
        let mut all = reports.report();
        // A hostname may have become one of these since the reports were made.
        all.retain(|report| !self.unanswered.contains_key(&report.host));
        all.extend(self.unanswered.iter().map(|(host, address)| HostReport {
            host: host.clone(),
            state: HostState::Impossible,
            problem: Some(format!(
                "no challenge can be answered: port {PORT} of its address {address} is no application's of which TLS ends \
                 here; let one have it, or give the certificate by files"
            )),
            next_try: None,
            not_after: None,
        }));
        all.sort_by(|one, other| one.host.cmp(&other.host));
        all
    }
}

/// The hostnames that an application wants certificates for.
fn hosts_of(app: &App) -> impl Iterator<Item = &str> {
    own_hosts(&app.config.hostname, &app.config.sni)
}

/// An address of this hostname where a directory would meet nobody who answers. It may look at any of them.
fn unanswered(table: &AppTable, host: &str) -> Option<IpAddr> {
    let apps = table.apps().filter(|app| hosts_of(app).any(|name| name == host));
    let mut addresses: Vec<IpAddr> = apps.flat_map(|app| app.config.addresses.iter().copied()).collect();
    addresses.sort_unstable();
    addresses.into_iter().find(|address| {
        let owner = table.classify(EdgeAddr::new(SocketAddr::new(*address, PORT)));
        owner.and_then(|owner| owner.named(host)).is_none_or(|app| app.edge_tls.is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AppId, Application, DesiredState, TlsMode},
        proxy::testing::application,
        telemetry::Metrics,
        tls::Shared,
    };

    fn app(host: &str, address: &str, port: u16, mode: TlsMode) -> Application {
        let mut app = application(port, port);
        app.id = AppId::derive(&[host, address, &port.to_string()]);
        app.hostname = host.to_owned();
        app.addresses = vec![address.parse().unwrap()];
        app.tls.mode = mode;
        app
    }

    fn hosts(applications: Vec<Application>) -> Hosts {
        let state = DesiredState { applications, ..DesiredState::default() };
        Hosts::of(&AppTable::new(&state, Arc::default(), &Shared::default(), None, &Metrics::new(1)))
    }

    #[test]
    fn hostnames_that_terminate_tls_are_wanted_once_each() {
        let hosts = hosts(vec![
            app("b.example", "192.0.2.1", 443, TlsMode::Flexible),
            app("a.example", "192.0.2.1", 8443, TlsMode::Strict),
            app("a.example", "192.0.2.2", 443, TlsMode::Full),
            app("c.example", "192.0.2.1", 22, TlsMode::Off),
        ]);
        assert_eq!(hosts.wanted, ["a.example", "b.example"]);
        assert_eq!(hosts.report(&Reports::default()), []);
    }

    #[test]
    fn a_hostname_is_not_asked_for_where_nobody_would_answer() {
        let hosts = hosts(vec![
            app("a.example", "192.0.2.1", 8443, TlsMode::Flexible),
            app("b.example", "192.0.2.2", 8443, TlsMode::Flexible),
            app("c.example", "192.0.2.2", 443, TlsMode::Off),
        ]);
        assert_eq!(hosts.wanted, [""; 0]);
        let reports = hosts.report(&Reports::default());
        let told: Vec<_> = reports.iter().map(|report| (&*report.host, report.state)).collect();
        assert_eq!(told, [("a.example", HostState::Impossible), ("b.example", HostState::Impossible)]);
        assert!(reports[1].problem.as_ref().unwrap().contains("port 443 of its address 192.0.2.2"), "{reports:?}");
    }
}
