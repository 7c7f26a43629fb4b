//! How many handshakes are under way, and who goes when there is no room: before a handshake is over nobody is known, and
//! who takes long over it costs as much as who is quick.

use std::{
    cell::RefCell,
    collections::VecDeque,
    net::IpAddr,
    rc::{Rc, Weak},
    sync::Arc,
};

use super::{
    connection::Connection,
    headcount::{Counted, Headcount, Reached},
    outcome::Failure,
};
use crate::model::{ConnectionLimits, HandshakeLimits};

/// Those of one worker, in the count of all workers.
#[derive(Debug)]
pub(super) struct Handshakes {
    count: Arc<Headcount>,
    /// The oldest first. Some have come to their end.
    under_way: RefCell<VecDeque<Weak<Handshake>>>,
}

/// One that is under way, until dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    connection: Rc<Connection>,
    _counted: Counted,
}

impl Handshakes {
    pub(super) fn new(count: Arc<Headcount>) -> Self {
        Self { count, under_way: RefCell::default() }
    }

    /// One more. Where all places are taken, the oldest of this worker is ended for the next who comes: this one is
    /// refused, unless the place is free already.
    pub(super) fn enter(
        &self,
        limits: HandshakeLimits,
        client: IpAddr,
        connection: &Rc<Connection>,
    ) -> Result<Rc<Handshake>, Failure> {
        let limits = ConnectionLimits { all: Some(limits.all), per_client: Some(limits.per_client) };
        let counted = self.count.enter(limits, client).map_err(|reached| {
            if reached == Reached::All {
                self.shed();
            }
            Failure::Handshakes(reached)
        })?;
        let handshake = Rc::new(Handshake { connection: Rc::clone(connection), _counted: counted });
        let mut under_way = self.under_way.borrow_mut();
        // Those that are over go as soon as they are the oldest; in the midst they wait for that.
        while under_way.front().is_some_and(|oldest| oldest.strong_count() == 0) {
            under_way.pop_front();
        }
        under_way.push_back(Rc::downgrade(&handshake));
        Ok(handshake)
    }

    fn shed(&self) {
        let mut under_way = self.under_way.borrow_mut();
        while let Some(oldest) = under_way.pop_front() {
            if let Some(oldest) = oldest.upgrade() {
                oldest.connection.end(Failure::Shed);
                return;
            }
        }
    }
}
