//! Which application a connection belongs to: one immutable value, replaced as a whole.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::SystemTime};

use ipnet::IpNet;
use spectrum_common::geo::Class;

use super::{Access, AccessRules, App, ClientAddr, EdgeAddr, responder::Responders};
use crate::{
    geo::{Databases, Whereabouts},
    model::{AcmeChallenge, AppId, DesiredState, PortRange, Transport},
    origins::{Keep, Origins},
    telemetry::Metrics,
    tls::{self, Edge, Origin, Shared},
};

#[derive(Debug, Default)]
pub struct AppTable {
    edge: Arc<HashMap<IpAddr, Box<[Owner]>>>,
    apps: Arc<HashMap<AppId, Arc<App>>>,
    rules: AccessRules,
    geo: Arc<Databases>,
    pools: Arc<[IpNet]>,
    responders: Arc<Responders>,
    /// What the TLS of all of them has in common.
    tls: Shared,
}

/// Ports of one address, and whose they are.
type Owner = (PortRange, Arc<App>);

impl AppTable {
    /// The table of a desired state. An application that did not change since `previous` stays the same value, with
    /// its turn of origins and its connections.
    pub fn new(
        state: &DesiredState,
        geo: Arc<Databases>,
        tls: &Shared,
        previous: Option<&Self>,
        metrics: &Metrics,
    ) -> Self {
        let mut edge: HashMap<IpAddr, Vec<Owner>> = HashMap::new();
        let mut apps = HashMap::new();
        for config in state.applications.iter().filter(|app| app.protocol.transport == Transport::Tcp) {
            let before = previous.and_then(|table| table.apps.get(&config.id));
            let changed = || Arc::new(App::new(config.clone(), metrics.app(config), tls, before.map(Arc::as_ref)));
            let app = before.filter(|app| app.config == *config).map_or_else(changed, Arc::clone);
            for address in &config.addresses {
                edge.entry(address.to_canonical()).or_default().push((config.protocol.ports, Arc::clone(&app)));
            }
            apps.insert(config.id, app);
        }
        let sorted = edge.into_iter().map(|(address, mut ranges)| {
            ranges.sort_by_key(|(ports, _)| ports.first());
            (address, ranges.into_boxed_slice())
        });
        metrics.prune();
        Self {
            edge: Arc::new(sorted.collect()),
            responders: Arc::new(Responders::new(&state.responders, &apps)),
            apps: Arc::new(apps),
            rules: AccessRules::new(&state.rules),
            geo,
            pools: state.edge.pools.as_slice().into(),
            tls: tls.clone(),
        }
    }

    /// The same applications with other rules.
    #[must_use]
    pub fn with_rules(&self, rules: AccessRules) -> Self {
        Self {
            edge: Arc::clone(&self.edge),
            apps: Arc::clone(&self.apps),
            rules,
            geo: Arc::clone(&self.geo),
            pools: Arc::clone(&self.pools),
            responders: Arc::clone(&self.responders),
            tls: self.tls.clone(),
        }
    }

    /// What the TLS of all applications has in common.
    pub const fn tls(&self) -> &Shared {
        &self.tls
    }

    /// What keeps TLS from being as it is configured.
    pub fn tls_problems(&self) -> Vec<String> {
        let of_app = |app: &Arc<App>| {
            let edge = app.edge_tls.as_ref().map(|edge| edge.problems()).unwrap_or_default();
            let origin = app.origin_tls.as_ref().map(|origin| origin.problems()).unwrap_or_default();
            let name = format!("{} {}", app.config.hostname, app.config.protocol);
            edge.into_iter().chain(origin).map(move |problem| format!("{name}: {problem}")).collect::<Vec<_>>()
        };
        let certificates = self.tls.certificates.newest().report(SystemTime::now());
        let certificates = certificates.iter().filter(|report| !report.problems.is_empty()).map(ToString::to_string);
        self.apps.values().flat_map(of_app).chain(certificates).chain(self.tls.tickets.problem()).collect()
    }

    pub const fn rules(&self) -> &AccessRules {
        &self.rules
    }

    /// The application that owns an edge address and port.
    pub fn classify(&self, edge: EdgeAddr) -> Option<&Arc<App>> {
        let ranges = self.edge.get(&edge.ip())?;
        // Ranges of one address do not overlap (DesiredState): only the last that begins at or before can hold it.
        let after = ranges.partition_point(|(ports, _)| ports.first() <= edge.port());
        let (ports, app) = ranges.get(after.checked_sub(1)?)?;
        ports.contains(edge.port()).then_some(app)
    }

    /// Who owns an edge address and port, or as which application challenges alone are answered there.
    pub(super) fn serving(&self, edge: EdgeAddr) -> Option<(&Arc<App>, Option<AcmeChallenge>)> {
        let responder = || self.responders.find(edge).map(|(challenge, app)| (app, Some(challenge)));
        self.classify(edge).map(|app| (app, None)).or_else(responder)
    }

    /// Ports where challenges alone are answered.
    pub(crate) fn responders(&self) -> &Responders {
        &self.responders
    }

    /// Whether an application of this hostname has this address.
    pub(super) fn is_of(&self, host: &str, address: IpAddr) -> bool {
        let owners = self.edge.get(&address).into_iter().flatten();
        owners.into_iter().any(|(_, app)| app.config.hostname.eq_ignore_ascii_case(host))
    }

    /// An application that is in the table.
    pub fn app(&self, id: AppId) -> Option<&Arc<App>> {
        self.apps.get(&id)
    }

    pub fn apps(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values()
    }

    /// The addresses of all origins that are known now.
    pub fn origin_addresses(&self) -> Vec<IpAddr> {
        let endpoints = self.apps.values().flat_map(|app| app.origins.endpoints());
        endpoints.map(|endpoint| endpoint.address()).collect()
    }

    /// What the access rules say about a client of this application.
    pub fn access(&self, app: &App, client: ClientAddr) -> Access {
        if !app.config.ip_firewall {
            return Access::NoRule;
        }
        self.rules.decide(app.config.zone, client.ip(), || self.class(client))
    }

    /// What the databases say of a client.
    pub fn class(&self, client: ClientAddr) -> Class {
        self.geo.table.class(client.ip())
    }

    /// Network and country of a client, as far as there are databases that say.
    pub fn whereabouts(&self, client: ClientAddr) -> Whereabouts {
        self.geo.whereabouts(client.ip())
    }

    /// As [`Self::access`], for a connection that is already open: the application as it is now decides, or as it was
    /// when it is gone.
    pub fn access_now(&self, app: &App, client: ClientAddr) -> Access {
        self.access(self.apps.get(&app.config.id).map_or(app, |now| now), client)
    }

    /// Whether there is any rule that could close an open connection.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }
}

impl tls::Keep for AppTable {
    fn edges(&self) -> Vec<Arc<Edge>> {
        self.apps.values().filter_map(|app| app.edge_tls.clone()).collect()
    }

    fn origins(&self) -> Vec<Arc<Origin>> {
        self.apps.values().filter_map(|app| app.origin_tls.clone()).collect()
    }
}

impl Keep for AppTable {
    fn origins(&self) -> Vec<Arc<Origins>> {
        self.apps.values().map(|app| Arc::clone(&app.origins)).collect()
    }

    fn is_edge(&self, address: IpAddr, ports: PortRange) -> bool {
        let owned = self.edge.get(&address).into_iter().flatten();
        self.pools.iter().any(|pool| pool.contains(&address))
            || owned.into_iter().any(|(range, _)| range.overlaps(ports))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::testing::application;

    fn edge(s: &str) -> EdgeAddr {
        EdgeAddr::new(s.parse().unwrap())
    }

    fn state(ranges: &[(u16, u16)]) -> DesiredState {
        let applications = ranges.iter().map(|(first, last)| application(*first, *last)).collect();
        DesiredState { applications, ..DesiredState::default() }
    }

    #[test]
    fn classifies_by_address_and_range() {
        let table = AppTable::new(
            &state(&[(1000, 2000), (22, 22), (3000, 3000)]),
            Arc::default(),
            &Shared::default(),
            None,
            &Metrics::new(1),
        );
        let ports = |s| table.classify(edge(s)).map(|app| app.config.protocol.ports.to_string());
        assert_eq!(ports("127.0.0.1:22").as_deref(), Some("22"));
        assert_eq!(ports("127.0.0.1:1000").as_deref(), Some("1000-2000"));
        assert_eq!(ports("127.0.0.1:2000").as_deref(), Some("1000-2000"));
        assert_eq!(ports("[::ffff:127.0.0.1]:3000").as_deref(), Some("3000"), "mapped is the same address");
        for nobodys in ["127.0.0.1:21", "127.0.0.1:23", "127.0.0.1:999", "127.0.0.1:2001", "127.0.0.1:65535"] {
            assert_eq!(ports(nobodys), None, "{nobodys}");
        }
        assert_eq!(ports("127.0.0.2:22"), None);
    }

    #[test]
    fn an_unchanged_application_stays_the_same_value() {
        let metrics = Metrics::new(1);
        let before = AppTable::new(&state(&[(22, 22), (80, 80)]), Arc::default(), &Shared::default(), None, &metrics);
        let mut changed = state(&[(22, 22), (80, 80)]);
        changed.applications[1].ip_firewall = true;
        let after = AppTable::new(&changed, Arc::default(), &Shared::default(), Some(&before), &metrics);
        let same = |port| {
            let at = edge(&format!("127.0.0.1:{port}"));
            Arc::ptr_eq(before.classify(at).unwrap(), after.classify(at).unwrap())
        };
        assert!(same(22));
        assert!(!same(80));
    }
}
