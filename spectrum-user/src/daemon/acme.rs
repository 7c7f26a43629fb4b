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
    acme::{Challenges, HostReport, HostState, Keeper, Pace, Reports, certificates, impossible},
    model::{self, AcmeChallenge, Node},
    proxy::{App, AppTable, EdgeAddr, Owner},
    tls::{Challenged, certificates::Source, own_hosts},
};

/// What `[tls.acme]` asks for, before anything runs.
pub(super) struct Acme {
    settings: model::Acme,
    state_dir: PathBuf,
    challenges: Challenges,
}

/// Hostnames that terminate TLS here, and have no certificate from an operator's file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Sorted.
    pub(super) wanted: Vec<String>,
    /// Those whose challenges nobody could answer, and why.
    unanswered: BTreeMap<String, String>,
    /// Where they are answered, of all of them.
    answers: BTreeMap<String, Vec<Answer>>,
}

/// Where a directory may look, and meets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub at: SocketAddr,
    /// No application has the port: challenges are answered, and nothing else.
    pub alone: bool,
}

/// Who hears which hostnames are wanted.
pub(super) struct Wanted {
    hosts: watch::Sender<Vec<String>>,
    challenge: AcmeChallenge,
}

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
        let challenge = settings.challenge;
        let (hosts, wishes) = watch::channel(Hosts::of(table, challenge).wanted);
        let keeper = Keeper::start(settings, &state_dir, wishes, challenges, Pace::default());
        Ok((keeper.context("start the thread that asks for certificates")?, Wanted { hosts, challenge }))
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
        let Hosts { wanted, .. } = Hosts::of(table, self.challenge);
        self.hosts.send_if_modified(|before| {
            let changes = *before != wanted;
            *before = wanted;
            changes
        });
    }
}

impl Hosts {
    pub fn of(table: &AppTable, challenge: AcmeChallenge) -> Self {
        let certificates = table.tls().certificates.newest();
        let terminated = table.apps().filter(|app| app.edge_tls.is_some()).flat_map(|app| hosts_of(app));
        let names: BTreeSet<&str> = terminated.filter(|host| !certificates.has_own(host)).collect();
        let mut hosts = Self::default();
        for name in names {
            // Of no kind of challenge: who orders tells why.
            if impossible(name).is_some() {
                hosts.wanted.push(name.to_owned());
                continue;
            }
            let (answers, why): (Vec<_>, Vec<_>) = addresses(table, name)
                .into_iter()
                .map(|address| answer(table, challenge, name, address))
                .partition(Result::is_ok);
            hosts.answers.insert(name.to_owned(), answers.into_iter().filter_map(Result::ok).collect());
            // A directory may look at any of them.
            match why.into_iter().find_map(Result::err) {
                None => hosts.wanted.push(name.to_owned()),
                Some(why) => drop(hosts.unanswered.insert(name.to_owned(), why)),
            }
        }
        hosts
    }

    /// Where the challenges of a hostname are answered.
    pub(super) fn answers(&self, host: &str) -> &[Answer] {
        self.answers.get(host).map(Vec::as_slice).unwrap_or_default()
    }

    /// The same of every hostname.
    pub fn all_answers(&self) -> impl Iterator<Item = (&str, Answer)> {
        self.answers.iter().flat_map(|(host, answers)| answers.iter().map(|answer| (&**host, *answer)))
    }

    /// Hostnames that nobody is asked for, and why.
    pub fn unanswered(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unanswered.iter().map(|(host, why)| (&**host, &**why))
    }

    /// How all of them stand, sorted.
    pub(super) fn report(&self, reports: &Reports) -> Vec<HostReport> {
        let mut all = reports.report();
        // A hostname may have become one of these since the reports were made.
        all.retain(|report| !self.unanswered.contains_key(&report.host));
        all.extend(self.unanswered.iter().map(|(host, why)| HostReport {
            host: host.clone(),
            state: HostState::Impossible,
            problem: Some(why.clone()),
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

/// Whether who asks for this name there meets an application of which TLS ends here.
fn ends_tls(owner: &Owner, host: &str) -> bool {
    owner.named(host).is_some_and(|app| app.edge_tls.is_some())
}

fn addresses(table: &AppTable, host: &str) -> BTreeSet<IpAddr> {
    let apps = table.apps().filter(|app| hosts_of(app).any(|name| name == host));
    apps.flat_map(|app| app.config.addresses.iter().map(IpAddr::to_canonical)).collect()
}

/// What a directory meets at an address, or why that is nobody who answers.
fn answer(table: &AppTable, challenge: AcmeChallenge, host: &str, address: IpAddr) -> Result<Answer, String> {
    let at = SocketAddr::new(address, challenge.port());
    let why = |whose: &str, what: &str| {
        let port = challenge.port();
        format!(
            "no challenge can be answered: port {port} of its address {address} is {whose}; {what}, or give the certificate by \
             files"
        )
    };
    match table.classify(EdgeAddr::new(at)) {
        // It is looked at what its clients ask for first, whatever it serves.
        Some(owner) if challenge == AcmeChallenge::Http01 && owner.fallback().is_some() => {
            Ok(Answer { at, alone: false })
        }
        Some(_) if challenge == AcmeChallenge::Http01 => Err(why(
            "for clients of TLS alone, who choose an application by `sni`",
            "let one of these be without `sni`, give them another port",
        )),
        Some(owner) if ends_tls(owner, host) => Ok(Answer { at, alone: false }),
        Some(_) => Err(why(
            "an application's of which TLS does not end here",
            "end it here, write challenge = \"http-01\" under [tls.acme]",
        )),
        None if table.responders().find(EdgeAddr::new(at)).is_some() => Ok(Answer { at, alone: true }),
        None => Err(why(
            "a program's of this host, and is not taken from it",
            "move that to another address or port and reload, let an application have the port",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        acme::responders,
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

    fn hosts(applications: Vec<Application>, challenge: AcmeChallenge, listened: &str) -> Hosts {
        let mut state = DesiredState { applications, ..DesiredState::default() };
        state.responders = responders(&state, challenge, |at| at.to_string() == listened);
        let table = AppTable::new(&state, Arc::default(), &Shared::default(), None, &Metrics::new(1));
        Hosts::of(&table, challenge)
    }

    fn told(hosts: &Hosts) -> Vec<String> {
        let answers = hosts.all_answers();
        answers.map(|(host, Answer { at, alone })| format!("{host} {at} {alone}")).collect()
    }

    #[test]
    fn hostnames_that_terminate_tls_are_wanted_once_each() {
        let apps = vec![
            app("b.example", "192.0.2.1", 443, TlsMode::Flexible),
            app("a.example", "192.0.2.1", 8443, TlsMode::Strict),
            app("a.example", "192.0.2.2", 443, TlsMode::Full),
            app("c.example", "192.0.2.1", 22, TlsMode::Off),
        ];
        let hosts = hosts(apps, AcmeChallenge::TlsAlpn01, "");
        assert_eq!(hosts.wanted, ["a.example", "b.example"]);
        assert_eq!(hosts.report(&Reports::default()), []);
        let expected =
            ["a.example 192.0.2.1:443 false", "a.example 192.0.2.2:443 false", "b.example 192.0.2.1:443 false"];
        assert_eq!(told(&hosts), expected);
    }

    #[test]
    fn a_port_that_nobody_has_answers_for_the_hostname_whose_address_it_is() {
        let apps = vec![
            app("a.example", "192.0.2.1", 8443, TlsMode::Flexible),
            app("b.example", "192.0.2.2", 80, TlsMode::Off),
            app("b.example", "192.0.2.2", 8443, TlsMode::Flexible),
        ];
        let by_file = hosts(apps.clone(), AcmeChallenge::Http01, "");
        assert_eq!(by_file.wanted, ["a.example", "b.example"]);
        assert_eq!(told(&by_file), ["a.example 192.0.2.1:80 true", "b.example 192.0.2.2:80 false"]);
        let by_tls = hosts(apps, AcmeChallenge::TlsAlpn01, "");
        assert_eq!(told(&by_tls), ["a.example 192.0.2.1:443 true", "b.example 192.0.2.2:443 true"]);
    }

    #[test]
    fn a_hostname_is_not_asked_for_where_nobody_would_answer() {
        let apps = vec![
            app("a.example", "192.0.2.1", 8443, TlsMode::Flexible),
            app("b.example", "192.0.2.2", 8443, TlsMode::Flexible),
            app("c.example", "192.0.2.2", 443, TlsMode::Off),
        ];
        let hosts = hosts(apps, AcmeChallenge::TlsAlpn01, "192.0.2.1:443");
        assert_eq!(hosts.wanted, [""; 0]);
        let reports = hosts.report(&Reports::default());
        let told: Vec<_> = reports.iter().map(|report| (&*report.host, report.state)).collect();
        assert_eq!(told, [("a.example", HostState::Impossible), ("b.example", HostState::Impossible)]);
        let problem = |at: usize| reports[at].problem.clone().unwrap();
        assert!(problem(0).contains("port 443 of its address 192.0.2.1 is a program's of this host"), "{reports:?}");
        assert!(problem(1).contains("port 443 of its address 192.0.2.2 is an application's"), "{reports:?}");
    }

    #[test]
    fn why_a_wildcard_name_gets_none_is_told_by_who_orders() {
        let apps = vec![app("*.a.example", "192.0.2.1", 8443, TlsMode::Flexible)];
        assert_eq!(hosts(apps, AcmeChallenge::TlsAlpn01, "").wanted, ["*.a.example"]);
    }
}
