//! An application as the proxy uses it: what was configured, and what goes on from one connection to the next.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::OriginAddr;
use crate::{model::Application, telemetry::AppMetrics};

#[derive(Debug)]
pub struct App {
    pub config: Application,
    pub metrics: Arc<AppMetrics>,
    next_origin: AtomicUsize,
}

impl App {
    pub fn new(config: Application, metrics: Arc<AppMetrics>) -> Self {
        Self { config, metrics, next_origin: AtomicUsize::new(0) }
    }

    /// The origins for a connection to this edge port, the one whose turn it is first.
    pub fn origins(&self, edge_port: u16) -> impl Iterator<Item = OriginAddr> {
        let origins = &self.config.origins;
        let turn = if origins.len() > 1 { self.next_origin.fetch_add(1, Relaxed) % origins.len() } else { 0 };
        let (before, from) = origins.split_at_checked(turn).unwrap_or_default();
        from.iter().chain(before).filter_map(move |origin| {
            let port = self.config.protocol.ports.map(edge_port, origin.ports)?;
            Some(OriginAddr::new(SocketAddr::new(origin.address, port)))
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        proxy::{App, testing::application},
        telemetry::Metrics,
    };

    #[test]
    fn origins_take_turns_and_ports_keep_their_offset() {
        let mut config = application(1000, 2000);
        config.origins =
            vec!["tcp://192.0.2.1:3000-4000".parse().unwrap(), "tcp://[2001:db8::1]:1000-2000".parse().unwrap()];
        let metrics = Metrics::new(1).app(&config);
        let app = App::new(config, metrics);
        let dialled = |port| app.origins(port).map(|origin| origin.to_string()).collect::<Vec<_>>();
        assert_eq!(dialled(1005), ["192.0.2.1:3005", "[2001:db8::1]:1005"]);
        assert_eq!(dialled(1005), ["[2001:db8::1]:1005", "192.0.2.1:3005"]);
        assert_eq!(dialled(2000), ["192.0.2.1:4000", "[2001:db8::1]:2000"]);
        assert!(dialled(999).is_empty());
    }
}
