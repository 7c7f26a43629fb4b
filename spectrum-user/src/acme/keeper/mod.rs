//! Keeps certificates: orders what is missing and renews what grows old, on a thread of its own.
//!
//! The files are the truth about certificates, and [`Memory`] about tries; both are read at the start alone. What is due
//! is decided in one task, which also waits for the disk; the orders are tasks beside it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
    time::timeout,
};

use super::{
    Challenges, HostReport, Pace, Reports, account::Accounts, certificates, folder, memory::Memory, order::order,
    trouble::Trouble,
};
use crate::model::Acme;

mod hosts;
mod orders;

use hosts::Hosts;
use orders::{Ended, Orders};

/// Orders under way at once; one alone while it is not known whether the directory lets us in.
const ORDERS: usize = 4;

/// The running thread. Dropping it ends it, and the orders with it.
#[derive(Debug)]
pub struct Keeper {
    reports: Reports,
    issued: watch::Receiver<u64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keeper {
    /// Follows the wanted hostnames, in the calling thread's network namespace.
    ///
    /// `wanted`: those that terminate TLS here and have no certificate from a file. `state_dir`: where the folder
    /// `acme` is, or will be.
    pub fn start(
        settings: Acme,
        state_dir: &Path,
        wanted: watch::Receiver<Vec<String>>,
        challenges: Challenges,
        pace: Pace,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (counter, issued) = watch::channel(0);
        let reports = Reports::default();
        let memory = Memory::open(&folder(state_dir), settings.directory.as_str());
        let accounts = Accounts::new(settings.clone(), &folder(state_dir), pace.answer);
        let work = Work {
            hosts: Hosts::new(certificates(state_dir), memory, reports.clone()),
            counter,
            with: Arc::new(With { settings, accounts, challenges, pace }),
            certificates: certificates(state_dir),
        };
        let thread = thread::Builder::new().name("acme".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = work.follow(wanted) => {}
                    _ = stopped => {}
                }
            });
            // A resolver that does not answer keeps a thread of the runtime, and nobody waiting for it.
            runtime.shutdown_background();
        })?;
        Ok(Self { reports, issued, stop: Some(stop), thread: Some(thread) })
    }

    /// How each wanted hostname stands, sorted.
    pub fn report(&self) -> Vec<HostReport> {
        self.reports.report()
    }

    /// The same, for who lives longer.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// Changes with every certificate that was written: the store need not wait for its next look.
    pub fn issued(&self) -> watch::Receiver<u64> {
        self.issued.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that keeps certificates has panicked");
        }
    }
}

struct Work {
    hosts: Hosts,
    counter: watch::Sender<u64>,
    certificates: PathBuf,
    with: Arc<With>,
}

/// What the orders share.
struct With {
    settings: Acme,
    accounts: Accounts,
    challenges: Challenges,
    pace: Pace,
}

impl Work {
    async fn follow(mut self, mut wanted: watch::Receiver<Vec<String>>) {
        let mut orders = Orders::default();
        let mut is_followed = true;
        let first = wanted.borrow_and_update().clone();
        self.want(&first, &mut orders);
        loop {
            let wait = self.begin(&mut orders);
            tokio::select! {
                changed = wanted.changed(), if is_followed => {
                    // Nobody publishes any more: what is kept stays kept.
                    is_followed = changed.is_ok();
                    let wanted = wanted.borrow_and_update().clone();
                    self.want(&wanted, &mut orders);
                }
                Some(ended) = orders.next() => self.end(ended).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn want(&mut self, wanted: &[String], orders: &mut Orders) {
        self.hosts.want(wanted, &self.with.pace);
        for host in orders.retain(|host| self.hosts.is_wanted(host)) {
            log::info!("the order of a certificate for {host} is given up: nobody wants it any more");
        }
    }

    /// Begins what is due. How long nothing else will be, at most.
    fn begin(&mut self, orders: &mut Orders) -> Duration {
        let now = self.with.pace.now();
        let most = if self.with.accounts.is_open() { ORDERS } else { 1 };
        while orders.len() < most {
            let Some(host) = self.hosts.due(now) else { break };
            self.hosts.begin(&host, now);
            orders.begin(&host, obtain(Arc::clone(&self.with), host.clone()));
        }
        self.hosts.report(now);
        let next = self.hosts.next(now).and_then(|next| next.duration_since(now).ok());
        // What is due, and has no room, is begun when an order ends.
        next.filter(|wait| !wait.is_zero()).map_or(self.with.pace.look, |wait| wait.min(self.with.pace.look))
    }

    async fn end(&mut self, Ended { host, outcome }: Ended) {
        let now = self.with.pace.now();
        match outcome {
            Ok((pair, life)) => match super::files::write(&self.certificates, &host, &pair) {
                Ok(()) => {
                    self.hosts.succeed(&host, life, now);
                    self.counter.send_modify(|count| *count += 1);
                }
                // As dear as any other: the directory counts what it issued.
                Err(why) => self.hosts.fail(&host, &Trouble::new(format!("the certificate is lost: {why}")), now),
            },
            Err(trouble) => {
                if trouble.is_forgotten {
                    self.with.accounts.forget().await;
                } else {
                    self.with.accounts.close().await;
                }
                self.hosts.fail(&host, &trouble, now);
            }
        }
    }
}

async fn obtain(with: Arc<With>, host: String) -> orders::Outcome {
    let pace = &with.pace;
    let obtained = timeout(pace.order(), async {
        let account = with.accounts.open().await?;
        order(&account, &with.settings, &host, &with.challenges, pace.decision).await
    });
    let late = |_| Trouble::new(format!("the order was not over within {:?}", pace.order()));
    obtained.await.map_err(late)?
}

/// When this was, for the log.
fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
