//! The life of one connection, as the specification tells it.

use std::{pin::pin, rc::Rc};

use tokio::{io::Interest, net::TcpStream};

use super::{
    Access, App, ClientAddr, EdgeAddr, OriginAddr,
    connection::{Connection, Place},
    dial::dial,
    outcome::{self, Failure, Outcome},
    record::Record,
    relay,
    worker::Worker,
};

/// Serves a connection until it is closed. Both legs are closed when this returns, and the record says how.
pub(super) async fn serve(worker: Rc<Worker>, client: TcpStream, address: ClientAddr, place: Place) {
    // The address and port that the client connected to, whatever the listening socket is bound to. It only fails for
    // a socket that is gone.
    let Ok(edge) = client.local_addr().map(EdgeAddr::new) else { return };
    let mut record = Record::open(&worker, address, edge);
    let outcome = match run(&worker, place.connection(), &client, address, edge, &mut record).await {
        Ok(()) => Outcome::Closed,
        Err(failure) => {
            if failure.resets() {
                reset(&client);
            }
            Outcome::Failed(failure)
        }
    };
    record.finish(&outcome);
    // Closed before the place is given back: who waits for the last connection finds nothing open.
    drop(client);
    drop(place);
}

async fn run(
    worker: &Worker,
    connection: &Connection,
    client: &TcpStream,
    address: ClientAddr,
    edge: EdgeAddr,
    record: &mut Record,
) -> Result<(), Failure> {
    let table = worker.table();
    let app = table.classify(edge).ok_or(Failure::Unclassified)?;
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
    #[cfg(test)]
    assert!(app.config.hostname != PANICS, "as the test wants");
    let app = std::sync::Arc::clone(app);
    drop(table);
    let (origin, origin_address) = reach(&app, edge, client, connection).await?;
    let origin = Rc::new(origin);
    worker.connections.guard_later(&origin);
    record.connected(origin_address);
    let ended = relay::run(worker, connection, &app, client, &origin, record).await;
    record.measure(client, &origin);
    if ended.as_ref().is_err_and(Failure::resets) {
        reset(&origin);
    }
    ended
}

/// Dials, as long as the client is there and nobody ended the connection.
async fn reach(
    app: &App,
    edge: EdgeAddr,
    client: &TcpStream,
    connection: &Connection,
) -> Result<(TcpStream, OriginAddr), Failure> {
    let mut dialling = pin!(dial(app, edge.port()));
    let mut client_error = pin!(client.ready(Interest::ERROR));
    std::future::poll_fn(|cx| {
        use std::task::Poll::{Pending, Ready};
        if let Ready(failure) = connection.poll_ended(cx) {
            return Ready(Err(failure));
        }
        if let Ready(dialled) = dialling.as_mut().poll(cx) {
            return Ready(dialled);
        }
        // A client that resets while we dial. One that only closed its sending half is still waiting for an answer.
        match client_error.as_mut().poll(cx) {
            Ready(_) => Ready(Err(Failure::Client(relay::pending_error(client)))),
            Pending => Pending,
        }
    })
    .await
}

/// The socket's close will be a reset, whatever is still in its buffers.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        log::debug!("a peer gets FIN instead of a reset: {error}");
    }
}

/// Hostname of an application that stands for a bug.
#[cfg(test)]
pub(super) const PANICS: &str = "panics.example.com";
