//! Puts rules and routes back that somebody took away: systemd-networkd, which removes what it did not make whenever it
//! starts, an administrator, or another `spectrum unwrap` that saw itself as the last.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{WayError, table::Table};

/// Two requests for each service, and shorter than a client waits: an unanswered SYN is sent again after a second.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Watch {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(services: Vec<SocketAddr>) -> Self {
        let (end, ended) = oneshot::channel();
        Self { end, task: tokio::spawn(watch(services, ended)) }
    }

    /// After this nothing is put back any more.
    pub(super) async fn end(self) {
        drop(self.end);
        if let Err(error) = self.task.await {
            log::error!("what watches the rules was ended by a bug of this program: {error}");
        }
    }
}

async fn watch(services: Vec<SocketAddr>, mut ended: oneshot::Receiver<()>) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fails = false;
    loop {
        tokio::select! {
            _ = &mut ended => return,
            _ = ticks.tick() => {}
        }
        match put_back(&services).await {
            Ok(missing) => {
                if missing {
                    log::warn!(
                        "the rules or routes of number 213 were gone and are put back: who removes them? \
                         For systemd-networkd, ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no"
                    );
                }
                fails = false;
            }
            Err(error) if !fails => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                log::error!("clients are not served until this is so again: {error}{cause}");
                fails = true;
            }
            Err(_) => {}
        }
    }
}

/// Whether anything was missing.
async fn put_back(services: &[SocketAddr]) -> Result<bool, WayError> {
    Ok(Table::open().map_err(WayError::Netlink)?.add(services).await?)
}
