//! One traffic thread: its runtime, its listening socket, its connections.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::watch,
    task,
    time::{MissedTickBehavior, interval},
};

use super::{
    Access, AppTable, ClientAddr,
    connection::Connections,
    handshakes::Handshakes,
    outcome::{Failure, blocked},
    relay::Pools,
    serve::serve,
    workers::{Phase, Telemetry},
};
use crate::{
    listen::{Accepted, Acceptor, Admission, Inbox, Seated, Shed, Sources, Spread},
    telemetry::NodeShard,
};

/// How exact idle timeouts are. One timer per worker looks at all connections, none has a timer of its own.
const TICK: Duration = Duration::from_millis(250);

const SECOND: u32 = 4;
/// A connection that moves bytes for five seconds is more than a knock at the door.
const LASTING: u32 = 5 * SECOND;
/// People pause: who has typed within the last minute is being served.
const RECENT: u32 = 60 * SECOND;

/// What the tasks of one thread share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) telemetry: Telemetry,
    pub(super) connections: Rc<Connections>,
    pub(super) pools: Pools,
    /// Ticks since the start.
    pub(super) clock: Cell<u32>,
    pub(super) sources: Sources,
    pub(super) handshakes: Handshakes,
    spread: Spread,
    published: RefCell<watch::Receiver<Arc<AppTable>>>,
    table: RefCell<Arc<AppTable>>,
}

impl Worker {
    pub(super) fn new(
        index: usize,
        mut published: watch::Receiver<Arc<AppTable>>,
        telemetry: Telemetry,
        pipes: Admission,
        spread: Spread,
        sources: Sources,
        handshakes: Handshakes,
    ) -> Self {
        let table = Arc::clone(&published.borrow_and_update());
        Self {
            index,
            telemetry,
            connections: Rc::default(),
            pools: Pools::new(pipes),
            clock: Cell::new(0),
            sources,
            handshakes,
            spread,
            published: RefCell::new(published),
            table: RefCell::new(table),
        }
    }

    /// The newest table: asking costs one load while there is no newer one.
    pub(super) fn table(&self) -> Arc<AppTable> {
        let mut published = self.published.borrow_mut();
        if published.has_changed().unwrap_or(false) {
            *self.table.borrow_mut() = Arc::clone(&published.borrow_and_update());
        }
        Arc::clone(&self.table.borrow())
    }

    pub(super) fn shard(&self) -> Option<&NodeShard> {
        self.telemetry.metrics.worker(self.index)
    }

    /// Accepts and serves until told to drain, then until nothing is open; what is open in the last phase is reset.
    /// Says how many were.
    pub(super) async fn work(
        self: Rc<Self>,
        mut acceptor: Acceptor,
        mut inbox: Inbox,
        mut phase: watch::Receiver<Phase>,
        accepting: watch::Sender<usize>,
        opened: Arc<AtomicBool>,
    ) -> usize {
        let mut rules = self.published.borrow().clone();
        let housekeeping = task::spawn_local({
            let worker = Rc::clone(&self);
            async move { worker.keep_house(&mut rules).await }
        });
        let mut serving = None;
        let last = loop {
            tokio::select! {
                biased;
                phase = next_phase(&mut phase, serving.is_some()) => match phase {
                    Phase::Waiting => serving = None,
                    Phase::Serving => serving = Some(Accepting::begin(&acceptor, &accepting)),
                    last @ (Phase::Draining | Phase::Leaving | Phase::Cutting) => break last,
                },
                Some(seated) = inbox.recv() => self.open(seated),
                accepted = acceptor.accept(), if serving.is_some() => self.take(accepted),
            }
        };
        match last {
            // These handshakes are the successor's, which holds the same sockets: here they would meet the old table.
            Phase::Leaving => drop(acceptor),
            // Of a process that has never come to serve, they are its predecessor's, which serves on: taken here, they would
            // be reset with it.
            _ if !opened.load(Ordering::Relaxed) => drop(acceptor),
            // The kernel has completed these handshakes: closing the listener now would reset them.
            _ => acceptor.into_queued().for_each(|accepted| self.take(accepted)),
        }
        drop(serving);
        // From here on other workers keep what they would give to this one.
        inbox.close();
        while let Ok(seated) = inbox.try_recv() {
            self.open(seated);
        }
        tokio::select! {
            () = self.connections.all_ended() => {}
            _ = phase.wait_for(|phase| *phase == Phase::Cutting) => {}
        }
        let cut = self.connections.end(|_, _| Some(Failure::Drained));
        self.connections.all_ended().await;
        housekeeping.abort();
        cut
    }

    fn take(self: &Rc<Self>, accepted: Accepted) {
        match accepted {
            Accepted::Connection(arrival) => {
                if let Some(seated) = self.spread.seat(self.index, arrival) {
                    self.open(seated);
                }
            }
            Accepted::Shed(shed) => self.count_shed(shed),
        }
    }

    fn count_shed(&self, shed: Shed) {
        if let Some(shard) = self.shard() {
            match shed {
                Shed::Full => shard.shed_full.add(1),
                Shed::Exhausted => shard.shed_exhausted.add(1),
            }
        }
    }

    fn open(self: &Rc<Self>, Seated { arrival, seat }: Seated) {
        let client = ClientAddr::new(arrival.client);
        // Open from now on, and not from when its task runs first: a drain in between must see it.
        let place = self.connections.open(client, arrival.permit, seat, self.clock.get());
        match TcpStream::from_std(arrival.stream) {
            Ok(stream) => drop(task::spawn_local(serve(Rc::clone(self), stream, client, place))),
            Err(error) => {
                log::warn!("a client is turned away, epoll does not take its connection: {error}");
                self.count_shed(Shed::Exhausted);
            }
        }
    }

    /// Moves the clock, guards new connections, ends idle connections, and ends those that a new table blocks.
    async fn keep_house(&self, published: &mut watch::Receiver<Arc<AppTable>>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.clock.set(self.clock.get().wrapping_add(1));
                    self.connections.guard_those_that_last();
                    self.end_idle();
                    self.tell_served();
                }
                changed = published.changed() => {
                    if changed.is_err() {
                        // Nobody can publish any more: the last table stays.
                        std::future::pending::<()>().await;
                    }
                    self.revoke();
                }
            }
        }
    }

    /// Once a second: who has a connection that lasts.
    fn tell_served(&self) {
        let now = self.clock.get();
        if now.is_multiple_of(SECOND) {
            self.telemetry.arrivals.serves(self.index, self.connections.served(now, LASTING, RECENT));
        }
    }

    fn end_idle(&self) {
        let now = self.clock.get();
        self.connections.end(|connection, app| {
            let timeout = app?.config.timeouts.idle?;
            (TICK * connection.idle(now) > timeout).then_some(Failure::Idle)
        });
    }

    fn revoke(&self) {
        let table = self.table();
        if !table.has_rules() {
            return;
        }
        let ended = self.connections.end(|connection, app| match table.access_now(app?, connection.client()) {
            Access::Blocked(_, by) => Some(Failure::Revoked(blocked(by))),
            Access::Allowed(..) | Access::NoRule => None,
        });
        if ended > 0 {
            log::info!("{ended} open connections were ended by new access rules");
        }
    }
}

/// Waits for another phase than the one that a worker is in.
async fn next_phase(phase: &mut watch::Receiver<Phase>, serving: bool) -> Phase {
    let now = if serving { Phase::Serving } else { Phase::Waiting };
    // Nobody can say any more what to do: as told last.
    phase.wait_for(|phase| *phase != now).await.map_or(Phase::Cutting, |phase| *phase)
}

/// A worker that accepts, in the count of those until dropped: also where it panics.
struct Accepting(watch::Sender<usize>);

impl Accepting {
    /// Sockets that only were bound until now join the group.
    fn begin(acceptor: &Acceptor, count: &watch::Sender<usize>) -> Self {
        if let Err(error) = acceptor.listen() {
            log::error!("a socket does not listen, the others of its group do: {error}");
        }
        count.send_modify(|workers| *workers += 1);
        Self(count.clone())
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.send_modify(|workers| *workers = workers.saturating_sub(1));
    }
}
