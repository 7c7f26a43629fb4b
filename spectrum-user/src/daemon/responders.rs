//! Ports that are taken for challenges: what the desired state says of them, on this host as it is now. Outside of pools they
//! are borrowed: a program of this host that listens keeps its port, and one that comes later gets it back.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Running, sockets::Listening};
use crate::{
    acme::responders,
    model::{DesiredState, Node, Responder},
    proxy::AppTable,
};

const LOOK: Duration = Duration::from_secs(2);

/// When it is looked next who listens on this host.
pub(super) struct Looks(Interval);

impl Default for Looks {
    fn default() -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(looks)
    }
}

impl Looks {
    pub(super) async fn due(&mut self) {
        self.0.tick().await;
    }
}

/// Adds them, where certificates are asked for.
pub fn respond(desired: &mut DesiredState, node: &Node) {
    let Some(acme) = &node.tls.acme else { return };
    let listening = Listening::read();
    if let Err(error) = &listening {
        log::warn!("challenges are answered in pools alone: it cannot be found out who listens on this host: {error}");
    }
    // At the start this one listens only later.
    let is_own = |at: SocketAddr| node.metrics.is_some_and(|own| own.port() == at.port());
    let is_listened = |at| is_own(at) || listening.as_ref().map_or(true, |listening| listening.holds(at));
    desired.responders = responders(desired, acme.challenge, is_listened);
}

impl Running {
    /// Gives ports back that a program of this host has come to listen on.
    pub(super) async fn give_back(&mut self) {
        let before = self.view.desired();
        let is_borrowed = |responder: &&Responder| {
            let mut pools = before.edge.pools.iter();
            pools.all(|pool| !pool.contains(&responder.address))
        };
        if !before.responders.iter().any(|responder| is_borrowed(&responder)) {
            return;
        }
        // What cannot be read now could be at the start, and is read again soon.
        let Ok(listening) = Listening::read() else { return };
        let at = |responder: &Responder| SocketAddr::new(responder.address, responder.challenge.port());
        let (gone, responders): (Vec<Responder>, Vec<Responder>) =
            before.responders.iter().partition(|responder| is_borrowed(responder) && listening.holds(at(responder)));
        if gone.is_empty() {
            return;
        }
        let desired = DesiredState { responders, ..DesiredState::clone(&before) };
        let node = self.node.clone();
        let report = match self.bring_about(&desired, &node, false).await {
            Ok(report) => report,
            Err(error) => {
                log::error!("a port is not given back yet: {:#}", anyhow::Error::new(error));
                return;
            }
        };
        let previous = self.table.borrow().clone();
        let (geo, metrics) = (Arc::clone(&self.geo), &self.telemetry.metrics);
        let table = AppTable::new(&desired, geo, previous.tls(), Some(&previous), metrics);
        self.table.send_replace(Arc::new(table));
        self.view.applied(Arc::new(desired), &report);
        for responder in gone {
            log::warn!(
                "{} is given back: a program of this host listens there. No challenge is answered there any more",
                at(&responder)
            );
        }
    }
}
