//! The relay where the client's end, or both, are wrapped in TLS. The same promises as between plain sockets, and one more:
//! an end that only the network tells of is passed on as such, so that no cut stream looks whole.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll::{Pending, Ready},
};

use tokio::io::Interest;

use super::{
    Meter, Watch, Watched,
    end::{End, Ending, Fault},
    flow::Flow,
    outlasted, pending_error,
    pump::Side,
    told_once,
};
use crate::proxy::{connection::Connection, outcome::Failure, record::Record, worker::Worker};

/// Relays until both directions have ended in good order, one side broke, or somebody ended the connection.
pub(in crate::proxy) async fn run(
    worker: &Worker,
    connection: &Connection,
    client: &mut End<'_>,
    origin: &mut End<'_>,
    record: &Record,
) -> Result<(), Failure> {
    let (from_client, from_origin) = Meter::both(record);
    let (mut up, mut down) = (Flow::default(), Flow::default());
    let watch = Watched { worker, connection };
    let ended = carry(&watch, (&mut up, &mut down), (client, &from_client), (origin, &from_origin)).await;
    outlasted(ended, up.holds(), down.holds())
}

async fn carry(
    watch: &Watched<'_>,
    (up, down): (&mut Flow, &mut Flow),
    (client, from_client): (&mut End<'_>, &Meter<'_>),
    (origin, from_origin): (&mut End<'_>, &Meter<'_>),
) -> Result<(), Failure> {
    let (mut to_origin, mut to_client) = (Ending::Open, Ending::Open);
    // As between plain sockets: resets of a side that is not being read.
    let mut client_error = pin!(client.stream().ready(Interest::ERROR));
    let mut origin_error = pin!(origin.stream().ready(Interest::ERROR));
    poll_fn(|cx| {
        if let Ready(end) = watch.poll_ended(cx) {
            return Ready(Err(end));
        }
        let now = watch.worker.clock.get();
        let up_polled = up.poll(cx, &watch.worker.pools, client, origin, from_client, now);
        // What an origin said before it broke is still passed on.
        let down_polled = down.poll(cx, &watch.worker.pools, origin, client, from_origin, now);
        match up_polled {
            Ready(Err((Side::From, fault))) => return Ready(Err(client_broke(fault))),
            Ready(Err((Side::To, fault))) => return Ready(Err(origin_broke(unsent(fault, down)))),
            Ready(Ok(())) | Pending => {}
        }
        match down_polled {
            Ready(Err((Side::From, fault))) => return Ready(Err(origin_broke(fault))),
            Ready(Err((Side::To, fault))) => return Ready(Err(client_broke(unsent(fault, up)))),
            Ready(Ok(())) | Pending => {}
        }
        // What TLS itself has to say: answers to what was just read, which may be all that is said.
        if let Ready(Err(fault)) = client.poll_flush(cx) {
            return Ready(Err(client_broke(fault)));
        }
        if let Ready(Err(fault)) = origin.poll_flush(cx) {
            return Ready(Err(origin_broke(fault)));
        }
        pass_on(up, &mut to_origin);
        pass_on(down, &mut to_client);
        if let Ready(Err(fault)) = said(origin, cx, &mut to_origin) {
            return Ready(Err(origin_broke(fault)));
        }
        if let Ready(Err(fault)) = said(client, cx, &mut to_client) {
            return Ready(Err(client_broke(fault)));
        }
        if (to_origin, to_client) == (Ending::Done, Ending::Done) {
            return Ready(Ok(()));
        }
        if !up.is_reading() && client_error.as_mut().poll(cx).is_ready() {
            return Ready(Err(client_broke(pending_error(client.stream()).into())));
        }
        if !down.is_reading() && origin_error.as_mut().poll(cx).is_ready() {
            return Ready(Err(origin_broke(pending_error(origin.stream()).into())));
        }
        if up.has_moved() | down.has_moved() | client.has_written() | origin.has_written() {
            watch.moved();
        }
        Pending
    })
    .await
}

fn pass_on(flow: &Flow, ending: &mut Ending) {
    if let (Some(told), Ending::Open) = (flow.ended(), *ending) {
        *ending = Ending::Begun { told };
    }
}

fn said(end: &mut End<'_>, cx: &mut std::task::Context<'_>, ending: &mut Ending) -> std::task::Poll<Result<(), Fault>> {
    match *ending {
        Ending::Open | Ending::Done => Pending,
        Ending::Begun { .. } | Ending::Said => end.poll_end(cx, ending),
    }
}

/// A failed write, as between plain sockets.
fn unsent(fault: Fault, from_there: &Flow) -> Fault {
    match fault {
        Fault::Socket(error) => Fault::Socket(told_once(error, from_there.ended().is_some())),
        fault @ Fault::Tls(_) => fault,
    }
}

fn client_broke(fault: Fault) -> Failure {
    match fault {
        Fault::Socket(error) => Failure::Client(error),
        Fault::Tls(error) => Failure::ClientTls(error),
    }
}

fn origin_broke(fault: Fault) -> Failure {
    match fault {
        Fault::Socket(error) => Failure::Origin(error),
        Fault::Tls(error) => Failure::OriginTls(error),
    }
}
