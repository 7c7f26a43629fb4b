//! Keeps what TLS needs up to date, on a thread of its own: certificates and authorities that change on disk, ticket keys,
//! and who is told that a certificate ends.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::{
    Edge, Origin, Shared,
    certificates::{Notice, Store},
};

/// How often files are looked at. A person who has replaced one waits no longer for it to be used.
const LOOKING: Duration = Duration::from_secs(2);

/// Whose files are looked at.
pub trait Keep: Send + Sync + 'static {
    fn edges(&self) -> Vec<Arc<Edge>>;
    fn origins(&self) -> Vec<Arc<Origin>>;
}

/// The running thread. Dropping it ends it.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<SyncSender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keeper {
    /// Follows what is published. `tell` hears of certificates that end, `looked` of each look.
    pub fn start<T: Keep>(
        published: watch::Receiver<Arc<T>>,
        mut store: Store,
        shared: Shared,
        tell: impl Fn(&Notice) + Send + 'static,
        looked: impl Fn(&T) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(1);
        let thread = thread::Builder::new().name("tls".to_owned()).spawn(move || {
            loop {
                let now = SystemTime::now();
                look(&mut store, &shared, now);
                store.notices(now).iter().for_each(&tell);
                let table = published.borrow().clone();
                let edges = table.edges();
                // A node of which nobody's TLS ends here writes no keys.
                if !edges.is_empty() {
                    shared.tickets.rotate_if_due(now);
                }
                for edge in edges {
                    edge.refresh();
                }
                table.origins().iter().for_each(|origin| origin.refresh());
                looked(&table);
                drop(table);
                if stopped.recv_timeout(LOOKING) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

fn look(store: &mut Store, shared: &Shared, now: SystemTime) {
    let Some(refreshed) = store.refresh(now) else { return };
    for taken in &refreshed.taken {
        log::info!("{taken}");
    }
    for removed in &refreshed.removed {
        log::warn!("{}: its files are gone, and its clients are turned away", removed.path.display());
    }
    for bad in &refreshed.bad {
        log::error!("{bad}");
    }
    shared.certificates.replace(refreshed.certificates);
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that keeps certificates has panicked");
        }
    }
}
