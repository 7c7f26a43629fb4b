//! Moves the bytes of one connection, each direction on its own, until both have ended or one side breaks.
//!
//! What guards each wait (invariant I14): a peer that vanished is found by keepalive (nothing in flight) or
//! `TCP_USER_TIMEOUT` (bytes in flight, zero window included), both set by `listen::guard`; a peer that is alive
//! and says nothing may do so for as long as the application's `idle_timeout` allows, which the worker watches.
//! Memory per connection is bounded: a direction holds at most one buffer or one pipe, and only while there are bytes
//! in it or to be read.

mod alone;
mod buffer;
mod end;
mod flow;
mod pipe;
mod pump;
mod secure;
mod socket;

use std::{
    cell::Cell,
    future::{Future as _, poll_fn},
    io,
    net::Shutdown,
    pin::pin,
    task::{
        Context, Poll,
        Poll::{Pending, Ready},
    },
};

use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

pub(crate) use self::alone::Relay;
use self::pump::{Pump, Side};
pub(super) use self::{end::End, secure::run as run_secure};
use super::{App, connection::Connection, outcome::Failure, record::Record, worker::Worker};
use crate::{
    listen::Admission,
    telemetry::{AppShard, Counter},
};

/// Buffers and pipes of one thread, for whoever has bytes to move.
#[derive(Debug)]
pub(super) struct Pools {
    buffers: buffer::Buffers,
    pipes: pipe::Pipes,
}

impl Pools {
    pub(super) fn new(pipes: Admission) -> Self {
        Self { buffers: buffer::Buffers::default(), pipes: pipe::Pipes::new(pipes) }
    }
}

/// Where a direction counts its bytes: for the connection, and for the application.
struct Meter<'a> {
    read: &'a Cell<u64>,
    spliced: &'a Cell<u64>,
    app_read: Option<&'a Counter>,
    app_spliced: Option<&'a Counter>,
}

impl<'a> Meter<'a> {
    /// What clients and origins send on the connection of this record.
    fn both(record: &'a Record) -> (Self, Self) {
        let shard = record.shard();
        let meter = |read, counter: fn(&AppShard) -> &Counter| Meter {
            read,
            spliced: &record.moved.spliced,
            app_read: shard.map(counter),
            app_spliced: shard.map(|shard| &shard.spliced_bytes),
        };
        let from_client = meter(&record.moved.from_client, |shard| &shard.client_bytes);
        (from_client, meter(&record.moved.from_origin, |shard| &shard.origin_bytes))
    }
}

impl Meter<'_> {
    fn count(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.read.set(self.read.get() + bytes);
        if let Some(counter) = self.app_read {
            counter.add(bytes);
        }
    }

    fn count_spliced(&self, bytes: usize) {
        self.count(bytes);
        let bytes = bytes as u64;
        self.spliced.set(self.spliced.get() + bytes);
        if let Some(counter) = self.app_spliced {
            counter.add(bytes);
        }
    }

    fn total(&self) -> u64 {
        self.read.get()
    }
}

/// Which side broke, and how it said so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the client's side broke")]
    Client(#[source] io::Error),
    #[error("the origin's side broke")]
    Origin(#[source] io::Error),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Client(error) => Self::Client(error),
            Broken::Origin(error) => Self::Origin(error),
        }
    }
}

/// Relays until both directions have ended in good order, one side broke, or somebody ended the connection.
pub(super) async fn run(
    worker: &Worker,
    connection: &Connection,
    app: &App,
    client: &TcpStream,
    origin: &TcpStream,
    record: &Record,
) -> Result<(), Failure> {
    let (from_client, from_origin) = Meter::both(record);
    let watch = Watched { worker, connection };
    let (mut up, mut down) = (Pump::new(app.config.splice), Pump::new(app.config.splice));
    let ended =
        carry(&worker.pools, (&mut up, &mut down), (client, &from_client), (origin, &from_origin), &watch).await;
    outlasted(ended, up.holds(), down.holds())
}

/// What an idle end is where bytes are left, on the way up or down, that a peer did not take for as long: an end in good order
/// would make half a stream a whole one.
fn outlasted(ended: Result<(), Failure>, up_holds: bool, down_holds: bool) -> Result<(), Failure> {
    let late = || io::Error::from_raw_os_error(libc::ETIMEDOUT);
    match ended {
        Err(Failure::Idle) if down_holds => Err(Failure::Client(late())),
        Err(Failure::Idle) if up_holds => Err(Failure::Origin(late())),
        ended => ended,
    }
}

/// Who looks on while a relay runs.
trait Watch {
    type End: From<Broken>;
    /// Ready when somebody ends the connection.
    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Self::End>;
    /// Bytes were read or written.
    fn moved(&self);
}

/// A worker that ends its connections, and some of them because nothing moves.
struct Watched<'a> {
    worker: &'a Worker,
    connection: &'a Connection,
}

impl Watch for Watched<'_> {
    type End = Failure;

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.connection.poll_ended(cx)
    }

    fn moved(&self) {
        self.connection.moved(self.worker.clock.get());
    }
}

/// The relay itself.
async fn carry<W: Watch>(
    pools: &Pools,
    (up, down): (&mut Pump, &mut Pump),
    (client, from_client): (&TcpStream, &Meter<'_>),
    (origin, from_origin): (&TcpStream, &Meter<'_>),
    watch: &W,
) -> Result<(), W::End> {
    let mut passed_on = false;
    let client_broke = |error| Broken::Client(error).into();
    let origin_broke = |error| Broken::Origin(error).into();

    // A reset of a side that is not being read at the moment (its bytes wait for the other side, or it has said
    // everything) shows only as EPOLLERR. Registered with the socket the first time they are polled, not before: an
    // idle connection is read from on both sides, and pays nothing for this.
    let mut client_error = pin!(client.ready(Interest::ERROR));
    let mut origin_error = pin!(origin.ready(Interest::ERROR));

    poll_fn(|cx| {
        if let Ready(end) = watch.poll_ended(cx) {
            return Ready(Err(end));
        }
        let up_polled = up.poll(cx, pools, client, origin, from_client);
        // What an origin said before it broke is still passed on: a server that closes with unread bytes resets right
        // behind its last words.
        if matches!(up_polled, Ready(Err((Side::To, _)))) {
            down.reads_from_broken();
        }
        let down_polled = down.poll(cx, pools, origin, client, from_origin);
        match (up_polled, down_polled) {
            (Ready(Err((Side::From, error))), _) => return Ready(Err(client_broke(error))),
            (Ready(Err((Side::To, error))), _) => return Ready(Err(origin_broke(told_once(error, down.has_ended())))),
            (_, Ready(Err((Side::From, error)))) => return Ready(Err(origin_broke(error))),
            (_, Ready(Err((Side::To, error)))) => return Ready(Err(client_broke(told_once(error, up.has_ended())))),
            (Ready(Ok(())), Ready(Ok(()))) => return Ready(Ok(())),
            // Each end is passed on once. The second one needs no call of its own: both sockets are closed then.
            (Ready(Ok(())), Pending) if !passed_on => {
                passed_on = true;
                shutdown(origin).map_err(origin_broke)?;
            }
            (Pending, Ready(Ok(()))) if !passed_on => {
                passed_on = true;
                shutdown(client).map_err(client_broke)?;
            }
            (Ready(Ok(())), Pending) | (Pending, Ready(Ok(())) | Pending) => {}
        }
        if !up.is_reading() && client_error.as_mut().poll(cx).is_ready() {
            return Ready(Err(client_broke(pending_error(client))));
        }
        if !down.is_reading() && origin_error.as_mut().poll(cx).is_ready() {
            return Ready(Err(origin_broke(pending_error(origin))));
        }
        if up.has_moved() | down.has_moved() {
            watch.moved();
        }
        Pending
    })
    .await
}

/// The peer reads the end of our stream; its own may go on.
fn shutdown(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).shutdown(Shutdown::Write) {
        // It was reset, and nobody has asked it since.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(pending_error(stream)),
        done => done,
    }
}

/// What a failed write says about its socket, whose own stream `has_ended` or not.
///
/// A socket tells its error once, and `splice(2)` drops it if some bytes went before; after that it says EPIPE. A peer
/// that had not ended its stream and takes no more bytes has reset the connection. One that had ended it makes the
/// kernel say EPIPE by itself (`tcp_reset`, `net/ipv4/tcp_input.c`).
fn told_once(error: io::Error, has_ended: bool) -> io::Error {
    if error.raw_os_error() == Some(libc::EPIPE) && !has_ended {
        return io::Error::from_raw_os_error(libc::ECONNRESET);
    }
    error
}

/// The error that made a socket report EPOLLERR.
pub(super) fn pending_error(stream: &TcpStream) -> io::Error {
    let known = stream.take_error().ok().flatten();
    // Somebody else has taken it already: what a peer does to an established connection is reset it.
    known.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ECONNRESET))
}
