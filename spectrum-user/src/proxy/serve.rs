//! The life of one connection, as the specification tells it.

use std::{pin::pin, rc::Rc, sync::Arc};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{
    Access, App, ClientAddr, EdgeAddr,
    announce::announce,
    beside,
    connection::{Connection, Place},
    dial::{DialError, Dialled, dial},
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
    let outcome = match run(&worker, place.connection(), &client, address, edge, &mut record).await {
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

async fn run(
    worker: &Worker,
    connection: &Rc<Connection>,
    client: &TcpStream,
    address: ClientAddr,
    edge: EdgeAddr,
    record: &mut Record,
) -> Result<(), Failure> {
    let table = worker.table();
    let (app, challenge) = table.serving(edge).ok_or(Failure::Unclassified)?;
    record.classified(app);
    connection.classified(app);
    match table.access(app, address) {
        Access::NoRule if app.config.ip_firewall => {
            worker.telemetry.arrivals.accepted(worker.index, address.ip(), table.class(address));
        }
        Access::NoRule => {}
        Access::Allowed(_, by) => record.allowed(outcome::allowed(by)),
        Access::Blocked(_, by) => return Err(Failure::Denied(outcome::blocked(by))),
    }
    let _counted = app.headcount.enter(app.config.limits, address.ip()).map_err(Failure::Crowded)?;
    #[cfg(test)]
    assert!(app.config.hostname != PANICS, "as the test wants");
    let app = Arc::clone(app);
    guard_as_asked(client, &app);
    let asked = beside::asked(&table, edge);
    drop(table);
    if challenge.is_some() || asked.is_some() {
        // As a whole on the heap: what lives across one more wait would make every connection larger.
        let caller = Caller { worker, connection, app: &app, client, address };
        return Box::pin(after(caller, edge, challenge, asked, record)).await;
    }
    match &app.edge_tls {
        // Of its own, and on the heap: what TLS needs is no part of a connection without it.
        Some(edge_tls) => {
            let connection = Wrapped { worker, connection, app: &app, edge_tls, client, address, edge };
            Box::pin(connection.serve(record)).await
        }
        None => pass_through(worker, &app, address, edge, client, connection, record).await,
    }
}

/// The same once a directory has been answered, or it is clear that the client is none.
async fn after(
    caller: Caller<'_>,
    edge: EdgeAddr,
    challenge: Option<AcmeChallenge>,
    asked: Option<Arc<dyn Challenged>>,
    record: &mut Record,
) -> Result<(), Failure> {
    if let Some(first) = caller.first(challenge, asked, record) {
        first.await?;
    }
    let Caller { worker, connection, app, client, address } = caller;
    match &app.edge_tls {
        Some(edge_tls) => Wrapped { worker, connection, app, edge_tls, client, address, edge }.serve(record).await,
        None => pass_through(worker, app, address, edge, client, connection, record).await,
    }
}

/// Bytes pass as they come.
async fn pass_through(
    worker: &Worker,
    app: &App,
    address: ClientAddr,
    edge: EdgeAddr,
    client: &TcpStream,
    connection: &Connection,
    record: &mut Record,
) -> Result<(), Failure> {
    let Dialled { stream, origin: origin_address, lease: _lease, .. } = {
        let mut dialling = pin!(dial(app, address, edge.port(), &worker.sources, &[]));
        while_client_stays(connection, client, dialling.as_mut()).await??
    };
    let origin = Rc::new(Leg::new(stream));
    let announced = announce(app, address, edge, None, &origin);
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
