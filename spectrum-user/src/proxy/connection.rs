//! The connections that a worker has open: to count them, to end some of them, to see which are idle.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    net::IpAddr,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use slab::Slab;
use socket2::SockRef;
use tokio::sync::Notify;

use super::{App, ClientAddr, Leg, outcome::Failure};
use crate::{
    listen::{Permit, Seat, guard},
    model::Timeouts,
};

/// One open connection, as its worker sees it.
#[derive(Debug)]
pub(super) struct Connection {
    client: ClientAddr,
    app: RefCell<Option<Arc<App>>>,
    /// The worker's clock when it was accepted.
    opened: u32,
    /// The worker's clock when a byte was last moved.
    active: Cell<u32>,
    /// Whether there is an origin: until then nothing can move, and other deadlines hold.
    relays: Cell<bool>,
    ending: RefCell<Option<Failure>>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    pub(super) const fn client(&self) -> ClientAddr {
        self.client
    }

    /// Both legs stand from now on.
    pub(super) fn relays(&self, now: u32) {
        self.relays.set(true);
        self.moved(now);
    }

    /// Bytes move.
    pub(super) fn moved(&self, now: u32) {
        self.active.set(now);
    }

    /// For how many ticks of the clock nothing has moved that could.
    pub(super) fn idle(&self, now: u32) -> u32 {
        if self.relays.get() { now.wrapping_sub(self.active.get()) } else { 0 }
    }

    /// Ends the connection: its task sees the failure the next time it is polled, which is at once.
    pub(super) fn end(&self, failure: Failure) {
        self.ending.borrow_mut().get_or_insert(failure);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Ready when somebody ended the connection.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Failure> {
        if let Some(failure) = self.ending.borrow_mut().take() {
            return Poll::Ready(failure);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn classified(&self, app: &Arc<App>) {
        *self.app.borrow_mut() = Some(Arc::clone(app));
    }
}

/// All open connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<Slab<Rc<Connection>>>,
    /// Legs to origins that are not guarded against silence yet.
    unguarded: RefCell<Vec<(Weak<Leg>, Timeouts)>>,
    last_ended: Notify,
}

/// A place among the open connections, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Rc<Connections>,
    connection: Rc<Connection>,
    key: usize,
    _permit: Permit,
    _seat: Seat,
}

impl Connections {
    pub(super) fn open(self: &Rc<Self>, client: ClientAddr, permit: Permit, seat: Seat, now: u32) -> Place {
        let connection = Rc::new(Connection {
            client,
            app: RefCell::default(),
            opened: now,
            active: Cell::new(now),
            relays: Cell::new(false),
            ending: RefCell::default(),
            waker: RefCell::default(),
        });
        let key = self.open.borrow_mut().insert(Rc::clone(&connection));
        Place { connections: Rc::clone(self), connection, key, _permit: permit, _seat: seat }
    }

    /// Has this leg guarded if it is still there when `guard_those_that_last` is called next.
    pub(super) fn guard_later(&self, origin: &Rc<Leg>, timeouts: Timeouts) {
        self.unguarded.borrow_mut().push((Rc::downgrade(origin), timeouts));
    }

    /// Most connections of a busy node are over before this: they never pay for it.
    pub(super) fn guard_those_that_last(&self) {
        for (origin, timeouts) in self.unguarded.take() {
            let Some(origin) = origin.upgrade() else { continue };
            if let Err(error) = guard(&SockRef::from(&**origin), &timeouts) {
                log::warn!("an origin that falls silent will not be noticed: {error}");
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Ready when no connection is open.
    pub(super) async fn all_ended(&self) {
        loop {
            let ended = self.last_ended.notified();
            if self.len() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// The clients whose connections have moved bytes for as long as `lasting`, and did so not longer ago than `recent`,
    /// in ticks of the clock.
    pub(super) fn served(&self, now: u32, lasting: u32, recent: u32) -> HashSet<IpAddr> {
        let serves = |connection: &Rc<Connection>| {
            let active = connection.active.get();
            active.wrapping_sub(connection.opened) >= lasting && now.wrapping_sub(active) <= recent
        };
        let open = self.open.borrow();
        open.iter().map(|(_, connection)| connection).filter(|c| serves(c)).map(|c| c.client.ip()).collect()
    }

    /// Ends every connection for which `why` knows a reason.
    pub(super) fn end(&self, why: impl Fn(&Connection, Option<&Arc<App>>) -> Option<Failure>) -> usize {
        let mut ended = 0;
        for (_, connection) in self.open.borrow().iter() {
            if let Some(failure) = why(connection, connection.app.borrow().as_ref()) {
                connection.end(failure);
                ended += 1;
            }
        }
        ended
    }
}

impl Place {
    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().try_remove(self.key);
        if self.connections.len() == 0 {
            self.connections.last_ended.notify_waiters();
        }
    }
}
