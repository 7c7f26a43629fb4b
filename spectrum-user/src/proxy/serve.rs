//! The life of one connection, as the specification tells it.

use std::{pin::pin, rc::Rc, sync::Arc};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{
    Access, App, AppTable, ClientAddr, EdgeAddr, Owner,
    announce::announce,
    beside,
    choose::choose,
    connection::{Connection, Place},
    dial::{DialError, Dialled, dial},
    headcount::Counted,
    leg::Leg,
    outcome::{self, Failure, Outcome},
    patience::while_client_stays,
    record::Record,
    relay,
    responder::Caller,
    worker::Worker,
    wrapped::Wrapped,
};
use crate::{
    listen::guard,
    model::{AcmeChallenge, Timeouts},
    tls::Challenged,
};

/// Serves a connection until it is closed. Both legs are closed when this returns, and the record says how.
pub(super) async fn serve(worker: Rc<Worker>, client: TcpStream, address: ClientAddr, place: Place) {
    // The address and port that the client connected to, whatever the listening socket is bound to. It only fails for
    // a socket that is gone.
    let Ok(edge) = client.local_addr().map(EdgeAddr::new) else { return };
    let client = Leg::new(client);
    let mut record = Record::open(&worker, address, edge);
    let arrival = Arrival { worker: &worker, connection: place.connection(), client: &client, address, edge };
    let outcome = match arrival.run(&mut record).await {
        Ok(()) => Outcome::Closed,
        Err(failure) => Outcome::Failed(failure),
    };
    if outcome.is_orderly() {
        client.ended_well();
    }
    record.measure(&client, None);
    record.finish(&outcome);
    // Closed before the place is given back: who waits for the last connection finds nothing open.
    drop(client);
    drop(place);
}

/// A connection that a client has made.
struct Arrival<'c> {
    worker: &'c Worker,
    connection: &'c Rc<Connection>,
    client: &'c TcpStream,
    address: ClientAddr,
    edge: EdgeAddr,
}

impl Arrival<'_> {
    async fn run(&self, record: &mut Record) -> Result<(), Failure> {
        let table = self.worker.table();
        let (owner, challenge) = table.serving(self.edge).ok_or(Failure::Unclassified)?;
        self.admit(&table, owner.leader(), record)?;
        let asked = beside::asked(&table, self.edge);
        drop(table);
        match owner {
            Owner::One(app) if challenge.is_none() && asked.is_none() => {
                let _counted = self.enter(&app, record)?;
                self.go(&app, record).await
            }
            // On the heap as a whole: hardly any connection is looked at first, and none should be larger for it.
            owner => Box::pin(self.after_a_look(owner, challenge, asked, record)).await,
        }
    }

    /// Asks the access rules. Those of one who shares an address are those of all: nobody who is blocked is asked for a name.
    fn admit(&self, table: &AppTable, leader: &Arc<App>, record: &mut Record) -> Result<(), Failure> {
        self.connection.classified(leader);
        match table.access(leader, self.address) {
            Access::NoRule if leader.config.ip_firewall => {
                let Worker { telemetry, index, .. } = self.worker;
                telemetry.arrivals.accepted(*index, self.address.ip(), table.class(self.address));
            }
            Access::NoRule => {}
            Access::Allowed(_, by) => record.allowed(outcome::allowed(by)),
            Access::Blocked(_, by) => {
                record.classified(leader);
                return Err(Failure::Denied(outcome::blocked(by)));
            }
        }
        Ok(())
    }

    /// Counts it for the application, while there is room.
    fn enter(&self, app: &Arc<App>, record: &mut Record) -> Result<Counted, Failure> {
        record.classified(app);
        self.connection.classified(app);
        let counted = app.headcount.enter(app.config.limits, self.address.ip()).map_err(Failure::Crowded)?;
        #[cfg(test)]
        assert!(app.config.hostname != PANICS, "as the test wants");
        guard_as_asked(self.client, app);
        Ok(counted)
    }

    /// The application's own way with it.
    async fn go(&self, app: &App, record: &mut Record) -> Result<(), Failure> {
        match &app.edge_tls {
            // Of its own, and on the heap: what TLS needs is no part of a connection without it.
            Some(edge_tls) => {
                let Self { worker, connection, client, address, edge } = *self;
                Box::pin(Wrapped { worker, connection, app, edge_tls, client, address, edge }.serve(record)).await
            }
            None => self.pass_through(app, record).await,
        }
    }

    /// The same where a client's first bytes say whose it is, or that it is a directory that looks at a challenge.
    async fn after_a_look(
        &self,
        owner: Owner,
        challenge: Option<AcmeChallenge>,
        asked: Option<Arc<dyn Challenged>>,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let Self { worker, connection, client, address, .. } = *self;
        let app = match owner {
            Owner::One(app) => app,
            Owner::ByName(sharers) => {
                let mut facts = Box::default();
                let chosen = choose(worker, connection, client, address, &sharers, &mut facts).await;
                record.shook_hands(facts);
                chosen.inspect_err(|_| record.classified(sharers.leader()))?
            }
        };
        let _counted = self.enter(&app, record)?;
        if let Some(challenge) = challenge {
            let caller = Caller { worker, connection, app: &app, client, address };
            return Err(caller.answer(challenge, record).await);
        }
        if let Some(challenged) = asked {
            beside::answer(&*challenged, connection, client).await?;
        }
        self.go(&app, record).await
    }

    /// Bytes pass as they come.
    async fn pass_through(&self, app: &App, record: &mut Record) -> Result<(), Failure> {
        let Self { worker, connection, client, address, edge } = self;
        let Dialled { stream, origin: origin_address, lease: _lease, .. } = {
            let mut dialling = pin!(dial(app, *address, edge.port(), &worker.sources, &[]));
            while_client_stays(connection, client, dialling.as_mut()).await??
        };
        let origin = Rc::new(Leg::new(stream));
        let announced = announce(app, *address, *edge, record.client_tls(), &origin);
        record.announced(announced.map_err(|error| Failure::Dial(Some(origin_address), DialError::Header(error)))?);
        worker.connections.guard_later(&origin, app.config.timeouts);
        connection.relays(worker.clock.get());
        record.measure(client, Some(&origin));
        record.connected(origin_address);
        let ended = relay::run(worker, connection, app, client, &origin, record).await;
        record.measure(client, Some(&origin));
        if ended.as_ref().err().is_none_or(|failure| !failure.resets_origin()) {
            origin.ended_well();
        }
        ended
    }
}

/// An accepted socket has the ordinary options of its listener: only others cost a system call.
fn guard_as_asked(client: &TcpStream, app: &App) {
    let timeouts = &app.config.timeouts;
    let ordinary = Timeouts::default();
    if (timeouts.keepalive, timeouts.user) == (ordinary.keepalive, ordinary.user) {
        return;
    }
    if let Err(error) = guard(&SockRef::from(client), timeouts) {
        log::warn!("a client that falls silent is noticed later than asked for: {error}");
    }
}

/// Hostname of an application that stands for a bug.
#[cfg(test)]
pub(super) const PANICS: &str = "panics.example.com";
