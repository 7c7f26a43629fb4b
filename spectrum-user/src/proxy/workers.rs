//! All traffic threads, and how they end.

use std::{
    io,
    net::TcpListener,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, watch},
    task,
    time::timeout,
};

use super::{AppTable, Arrivals, handshakes::Handshakes, headcount::Headcount, worker::Worker};
use crate::{
    listen::{Acceptor, Admission, Budget, Inbox, Sources, Spread},
    telemetry::{EventLog, Metrics},
};

/// Where workers count and tell.
#[derive(Clone, Debug)]
pub struct Telemetry {
    pub metrics: Metrics,
    pub events: EventLog,
    pub arrivals: Arrivals,
}

/// The running traffic threads. Dropping it stops them and resets every connection; see [`Workers::drain`].
#[derive(Debug)]
pub struct Workers {
    phase: watch::Sender<Phase>,
    /// How many workers accept.
    accepting: watch::Sender<usize>,
    /// Whether they have ever been told to take connections. Until then who waits in the queue is a predecessor's.
    opened: Arc<AtomicBool>,
    ended: mpsc::UnboundedReceiver<Ended>,
    running: usize,
    cut: usize,
    died: bool,
}

/// How long workers may take until they accept no more: each looks after whatever it is busy with.
const LETTING_GO: Duration = Duration::from_secs(5);

/// What open connections came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were reset at the deadline.
    pub cut: usize,
    /// False if a worker ended by a bug.
    pub orderly: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot raise the limit of open files")]
    Files(#[source] io::Error),
    #[error("the limit of {files} open files leaves none for traffic; raise it (ulimit -Hn, LimitNOFILE=)")]
    TooFewFiles { files: u64 },
    #[error("cannot start worker {worker}")]
    Thread {
        worker: usize,
        #[source]
        source: io::Error,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody is ready for new connections yet, or another process takes them.
    Waiting,
    Serving,
    /// No new connections; open ones may finish. Who waits in the kernel's queue is served first: nobody else may come
    /// who would.
    Draining,
    /// The same, and who waits in the queue is another process's.
    Leaving,
    /// Open ones are reset.
    Cutting,
}

struct Ended {
    worker: usize,
    /// None: it panicked.
    cut: Option<usize>,
}

impl Workers {
    /// One thread for each share of the listening sockets, in the calling thread's network namespace. They take
    /// connections from [`Workers::open`] on; until then who connects waits in the kernel's queue.
    ///
    /// They are not bound to cores: where anything else runs on them (softirqs of the traffic itself, the origin of a
    /// small installation) a bound worker waits behind it, which cost a fifth more CPU per connection when measured.
    pub fn start(
        shares: Vec<Vec<TcpListener>>,
        table: &watch::Receiver<Arc<AppTable>>,
        telemetry: &Telemetry,
        sources: &Sources,
    ) -> Result<Self, StartError> {
        let budget = Budget::claim().map_err(StartError::Files)?;
        if budget.connections == 0 {
            let files = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(0, |l| l.1);
            return Err(StartError::TooFewFiles { files });
        }
        Self::start_within(budget, shares, table, telemetry, sources)
    }

    pub(super) fn start_within(
        budget: Budget,
        shares: Vec<Vec<TcpListener>>,
        table: &watch::Receiver<Arc<AppTable>>,
        telemetry: &Telemetry,
        sources: &Sources,
    ) -> Result<Self, StartError> {
        let (phase, phases) = watch::channel(Phase::Waiting);
        let (accepting, _) = watch::channel(0);
        let opened = Arc::<AtomicBool>::default();
        let (ends, ended) = mpsc::unbounded_channel();
        let admission = Admission::new(budget.connections);
        let pipes = Admission::new(budget.pipes);
        let running = shares.len();
        let (spread, inboxes) = Spread::over(running);
        let handshakes = Arc::<Headcount>::default();
        for (index, (listeners, inbox)) in shares.into_iter().zip(inboxes).enumerate() {
            let thread = Thread {
                index,
                listeners,
                inbox,
                spread: spread.clone(),
                admission: admission.clone(),
                pipes: pipes.clone(),
                table: table.clone(),
                telemetry: telemetry.clone(),
                sources: sources.clone(),
                handshakes: Arc::clone(&handshakes),
                phases: phases.clone(),
                accepting: accepting.clone(),
                opened: Arc::clone(&opened),
            };
            let ends = ends.clone();
            let (started, start) = std::sync::mpsc::sync_channel(1);
            thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    let ended = Farewell { ends, ended: Ended { worker: index, cut: None } };
                    thread.run(&started, ended);
                })
                .and_then(|_| start.recv().unwrap_or_else(|_| Err(io::Error::other("the thread has panicked"))))
                .map_err(|source| StartError::Thread { worker: index, source })?;
        }
        Ok(Self { phase, accepting, opened, ended, running, cut: 0, died: false })
    }

    /// Takes connections from now on.
    pub fn open(&self) {
        self.opened.store(true, Ordering::Relaxed);
        self.go(Phase::Waiting, Phase::Serving);
    }

    /// Leaves new connections in the kernel's queue until [`Workers::open`]. Open ones go on. Whether every worker has
    /// let go of the queue, for which there is a while.
    pub async fn pause(&self) -> bool {
        self.go(Phase::Serving, Phase::Waiting);
        let mut accepting = self.accepting.subscribe();
        timeout(LETTING_GO, accepting.wait_for(|workers| *workers == 0)).await.is_ok()
    }

    fn go(&self, from: Phase, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let goes = *phase == from;
            if goes {
                *phase = to;
            }
            goes
        });
    }

    /// Ready when a worker has ended without being told to: a bug, after which its share of connections is not served.
    pub async fn failed(&mut self) {
        match self.ended.recv().await {
            Some(ended) => self.note(&ended),
            None => std::future::pending().await,
        }
    }

    /// Stops accepting, lets connections finish, and resets what is left at the deadline. Cancel safe: `cut` or
    /// another `drain` goes on from there.
    pub async fn drain(&mut self, deadline: Duration) -> DrainReport {
        self.finish(Phase::Draining, deadline).await
    }

    /// As [`Workers::drain`], where another process has the same sockets: who waits in their queue is served by its
    /// table, and has its room.
    pub async fn leave(&mut self, deadline: Duration) -> DrainReport {
        self.finish(Phase::Leaving, deadline).await
    }

    async fn finish(&mut self, phase: Phase, deadline: Duration) -> DrainReport {
        self.go(Phase::Waiting, phase);
        self.go(Phase::Serving, phase);
        if timeout(deadline, self.all_ended()).await.is_err() {
            return self.cut().await;
        }
        self.report()
    }

    /// Resets every connection at once.
    pub async fn cut(&mut self) -> DrainReport {
        self.phase.send_replace(Phase::Cutting);
        self.all_ended().await;
        self.report()
    }

    async fn all_ended(&mut self) {
        while self.running > 0 {
            match self.ended.recv().await {
                Some(ended) => self.note(&ended),
                None => break,
            }
        }
    }

    fn note(&mut self, ended: &Ended) {
        self.running = self.running.saturating_sub(1);
        self.cut += ended.cut.unwrap_or(0);
        if ended.cut.is_none() {
            log::error!("worker {} has panicked", ended.worker);
            self.died = true;
        }
    }

    const fn report(&self) -> DrainReport {
        DrainReport { cut: self.cut, orderly: !self.died }
    }
}

/// What a traffic thread takes along.
struct Thread {
    index: usize,
    listeners: Vec<TcpListener>,
    inbox: Inbox,
    spread: Spread,
    admission: Admission,
    pipes: Admission,
    table: watch::Receiver<Arc<AppTable>>,
    telemetry: Telemetry,
    sources: Sources,
    handshakes: Arc<Headcount>,
    phases: watch::Receiver<Phase>,
    accepting: watch::Sender<usize>,
    opened: Arc<AtomicBool>,
}

impl Thread {
    fn run(self, started: &std::sync::mpsc::SyncSender<io::Result<()>>, mut farewell: Farewell) {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let cut = runtime.block_on(async move {
            let acceptor = match Acceptor::new(self.listeners, self.admission) {
                Ok(acceptor) => acceptor,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return Ok(0);
                }
            };
            let _ = started.send(Ok(()));
            let handshakes = Handshakes::new(self.handshakes);
            let worker =
                Worker::new(self.index, self.table, self.telemetry, self.pipes, self.spread, self.sources, handshakes);
            let worker = Rc::new(worker);
            // A task of its own: to wake the future of `block_on` tokio writes to an eventfd, which would be a system
            // call for each accepted connection.
            task::spawn_local(worker.work(acceptor, self.inbox, self.phases, self.accepting, self.opened)).await
        });
        match cut {
            Ok(cut) => farewell.ended.cut = Some(cut),
            Err(error) => log::error!("worker {}: {error}", self.index),
        }
    }
}

/// Tells how a worker ended, also when it panicked.
struct Farewell {
    ends: mpsc::UnboundedSender<Ended>,
    ended: Ended,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.ends.send(Ended { ..self.ended });
    }
}
