//! What runs once everything is started, and how it ends: as a whole, or with a successor in its place.
//!
//! Deliberately not here: how it comes to run (`start`), and what it does meanwhile: each file of this module that adds
//! something to [`Running`].

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{
    Call, Source, View, mitigation::Auto, protection::Watch, responders::Looks, samples::Samples, servers::Servers,
    succession::Draining, upgrade::Upgrade,
};
use crate::{
    dataplane::{
        diagnostics::Diagnostics,
        instance::KernelInstance,
        netlink::{InterfaceWatch, Netlink},
    },
    geo::Databases,
    handover::{Channel, Program},
    model::Node,
    origins::Keeper,
    proxy::{AppTable, Telemetry, Workers},
    rules::{Book, LeftOut},
    state::Assigned,
    telemetry::EventLog,
};

/// Everything that runs.
pub struct Running {
    pub(super) source: Source,
    /// How this process was started.
    pub(super) program: Program,
    /// A successor that has been started.
    pub(super) upgrade: Option<Upgrade>,
    /// One that has taken over.
    pub(super) successor: Option<Channel>,
    /// Processes that drain.
    pub(super) predecessors: Vec<Draining>,
    /// Other descriptors of the listening sockets: what goes to a successor.
    pub(super) listening: Vec<OwnedFd>,
    pub(super) node: Node,
    pub(super) geo: Arc<Databases>,
    pub(super) kernel: KernelInstance,
    pub(super) netlink: Netlink,
    /// Addresses that are kept for hostnames.
    pub(super) assigned: Assigned,
    pub(super) table: watch::Sender<Arc<AppTable>>,
    pub(super) telemetry: Telemetry,
    pub(super) workers: Workers,
    pub(super) keeper: Keeper,
    pub(super) tls_keeper: crate::tls::Keeper,
    pub(super) acme_keeper: Option<crate::acme::Keeper>,
    pub(super) samples: Samples,
    pub(super) diagnostics: Diagnostics,
    pub(super) interfaces: InterfaceWatch,
    pub(super) servers: Servers,
    pub(super) protection: Watch,
    pub(super) book: Book,
    /// Kept rules that mean nothing under this file.
    pub(super) left_out: Vec<LeftOut>,
    pub(super) auto: Auto,
    pub(super) looks: Looks,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) view: Arc<View>,
    pub(super) drain: Duration,
    /// A worker has ended by a bug.
    pub(super) failed: bool,
}

impl Running {
    pub fn events(&self) -> &EventLog {
        &self.telemetry.events
    }

    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The last steps of one that has a successor: everything but its own connections is another's. Returns what is
    /// needed to drain.
    pub(super) async fn leave(self) -> Leaving {
        let Self { kernel, mut servers, telemetry, workers, successor, drain, .. } = self;
        kernel.leave();
        servers.leave().await;
        telemetry.events.dismiss();
        Leaving { servers, telemetry, workers, successor, drain }
    }

    /// The last steps: what the kernel holds, what listens, what is written.
    ///
    /// Before a restart what the kernel holds stays: it filters, and clients wait in the queue of the next process.
    pub(super) async fn end(self, restarts: bool) -> anyhow::Result<()> {
        let Self {
            mut kernel,
            netlink,
            servers,
            telemetry,
            keeper,
            tls_keeper,
            acme_keeper,
            samples,
            diagnostics,
            interfaces,
            protection,
            view,
            ..
        } = self;
        drop((keeper, acme_keeper, tls_keeper, samples, diagnostics, interfaces, view));
        servers.end().await;
        protection.end(&mut kernel, &telemetry.events);
        telemetry.events.close();
        if restarts {
            log::info!("this is a restart: the pins in {} stay", kernel.pins().directory().display());
        } else {
            kernel.release(&netlink).await?;
        }
        Ok(())
    }
}

/// What is left of a process that has a successor.
pub(super) struct Leaving {
    pub(super) servers: Servers,
    pub(super) telemetry: Telemetry,
    pub(super) workers: Workers,
    pub(super) successor: Option<Channel>,
    pub(super) drain: Duration,
}
