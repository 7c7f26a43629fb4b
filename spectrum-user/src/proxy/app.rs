//! An application as the proxy uses it: what was configured, and what goes on from one connection to the next.

use std::sync::Arc;

use super::{ClientAddr, announce::of_check, headcount::Headcount};
use crate::{
    model::Application,
    origins::{Candidate, Origins, Wish},
    telemetry::AppMetrics,
    tls::{self, Shared},
};

#[derive(Debug)]
pub struct App {
    pub config: Application,
    pub metrics: Arc<AppMetrics>,
    pub origins: Arc<Origins>,
    /// None: TLS passes through.
    pub edge_tls: Option<Arc<tls::Edge>>,
    /// None: origins are spoken to in clear.
    pub origin_tls: Option<Arc<tls::Origin>>,
    pub(super) headcount: Arc<Headcount>,
}

impl App {
    /// `before`: the application as it was, of which its count of connections stays, and its origins or what is known of
    /// those that stay.
    pub fn new(config: Application, metrics: Arc<AppMetrics>, shared: &Shared, before: Option<&Self>) -> Self {
        let greeting = of_check(config.proxy_protocol);
        let origins = match before.map(|app| &app.origins) {
            Some(same) if same.are_of(&config, &greeting) => Arc::clone(same),
            other => Origins::new(&config, greeting, other.map(|origins| &**origins)),
        };
        let headcount = before.map(|app| Arc::clone(&app.headcount)).unwrap_or_default();
        // Sessions and what was read stay where nothing of it has changed.
        let of_tls = |app: &Application| (app.tls.clone(), app.hostname.clone(), app.sni.clone());
        let same = before.filter(|app| of_tls(&app.config) == of_tls(&config));
        let edge_tls = match same {
            Some(app) => app.edge_tls.clone(),
            None => config.tls.mode.terminates().then(|| Arc::new(tls::Edge::new(&config, shared))),
        };
        let origin_tls = match same.filter(|app| app.origins.server_name() == origins.server_name()) {
            Some(app) => app.origin_tls.clone(),
            None => tls::Origin::new(&config, origins.server_name()).map(Arc::new),
        };
        Self { config, metrics, origins, edge_tls, origin_tls, headcount }
    }

    /// The origins for a connection to this edge port, the best first.
    pub fn candidates(&self, client: ClientAddr, edge_port: u16) -> Vec<Candidate> {
        self.origins.candidates(&Wish {
            client: client.ip(),
            edge_port,
            edge_ports: self.config.protocol.ports,
            balance: self.config.balance,
        })
    }
}
