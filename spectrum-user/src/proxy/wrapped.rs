//! The life of a connection of which TLS ends here: shake hands, dial, announce, shake hands with the origin, relay.

use std::{pin::pin, rc::Rc};

use rustls::ClientConnection;
use tokio::net::TcpStream;

use super::{
    App, ClientAddr, EdgeAddr, OriginAddr,
    announce::announce,
    connection::Connection,
    dial::{DialError, Dialled, dial},
    leg::Leg,
    outcome::Failure,
    patience::{unless_ended, while_client_stays},
    record::Record,
    relay::{self, End},
    tls::{self, OriginTlsError, Session},
    worker::Worker,
};
use crate::{
    origins::{Lease, News},
    tls::{ClientHandshake, Edge, OriginHandshake},
};

/// A connection that an application has taken.
#[derive(Clone, Copy)]
pub(super) struct Wrapped<'c> {
    pub(super) worker: &'c Worker,
    pub(super) connection: &'c Rc<Connection>,
    pub(super) app: &'c App,
    pub(super) edge_tls: &'c Edge,
    pub(super) client: &'c TcpStream,
    pub(super) address: ClientAddr,
    pub(super) edge: EdgeAddr,
}

/// An origin that is ready for the client's bytes.
struct Reached {
    origin: Rc<Leg>,
    address: OriginAddr,
    /// None: it is spoken to in clear.
    session: Option<ClientConnection>,
    /// In the origin's count as long as this is there.
    _lease: Lease,
}

/// Handshakes of one connection with origins: each may take its time, and a client waits for all of them.
const MOST_PASSED_OVER: usize = 3;

impl Wrapped<'_> {
    pub(super) async fn serve(self, record: &mut Record) -> Result<(), Failure> {
        let session = Box::pin(self.shake_hands(record)).await?;
        let reached = Box::pin(self.reach(record)).await?;
        let Reached { origin, address, session: origin_session, _lease } = reached;
        self.worker.connections.guard_later(&origin, self.app.config.timeouts);
        self.connection.relays(self.worker.clock.get());
        record.measure(self.client, Some(&origin));
        record.connected(address);
        let client_end = End::new(self.client, Some(session));
        let origin_end = End::new(&origin, origin_session.map(Into::into));
        let ended = self.relay(client_end, origin_end, record).await;
        record.measure(self.client, Some(&origin));
        if ended.as_ref().err().is_none_or(|failure| !failure.resets_origin()) {
            origin.ended_well();
        }
        ended
    }

    /// The handshake with the client, while there is a place for it.
    async fn shake_hands(self, record: &mut Record) -> Result<Session, Failure> {
        let limits = self.worker.table().tls().handshakes;
        let handshake = self.worker.handshakes.enter(limits, self.address.ip(), self.connection)?;
        let mut facts = Box::<ClientHandshake>::default();
        let shaking = tls::accept(self.edge_tls, self.client, self.app.config.timeouts.handshake, &mut facts);
        let shaken = unless_ended(self.connection, pin!(shaking)).await;
        drop(handshake);
        if let Ok(Err(error)) = &shaken {
            facts.status = error.as_str();
        }
        record.shook_hands(facts);
        let shaken = shaken?.map_err(Failure::Handshake).and_then(|session| session.ok_or(Failure::Challenge));
        if let Err(failure) = &shaken
            && !failure.resets_client()
        {
            tls::farewell(self.client).await;
        }
        shaken
    }

    /// Dials, tells who the client is, and shakes hands where the origin is spoken to in TLS. An origin with which that
    /// fails is passed over: no byte of the client is lost with it.
    async fn reach(self, record: &mut Record) -> Result<Reached, Failure> {
        let Self { worker, connection, app, client, address, edge, .. } = self;
        let mut passed_over = Vec::new();
        let mut failed = None;
        loop {
            let dialling = dial(app, address, edge.port(), &worker.sources, &passed_over);
            let dialled = while_client_stays(connection, client, pin!(dialling)).await?;
            let Dialled { stream, origin: origin_address, endpoint, lease } = match (dialled, failed.take()) {
                (Ok(dialled), _) => dialled,
                // Nobody is left to be dialled: what was wrong with the one before says more.
                (Err(Failure::Dial(None, _)), Some(failed)) => return Err(failed),
                (Err(failure), _) => return Err(failure),
            };
            let origin = Rc::new(Leg::new(stream));
            let announced = announce(app, address, edge, record.client_tls(), &origin);
            record.announced(announced.map_err(|error| Failure::Dial(Some(origin_address), DialError::Header(error)))?);
            let Some(origin_tls) = &app.origin_tls else {
                return Ok(Reached { origin, address: origin_address, session: None, _lease: lease });
            };
            let mut facts = Box::<OriginHandshake>::default();
            let shaking = tls::offer(origin_tls, &origin, app.config.timeouts.handshake, &mut facts);
            let shaken = while_client_stays(connection, client, pin!(shaking)).await?;
            if let Err(error) = &shaken {
                facts.status = error.as_str();
            }
            record.origin_shook_hands(facts);
            let error = match shaken {
                Ok(session) => {
                    return Ok(Reached { origin, address: origin_address, session: Some(session), _lease: lease });
                }
                Err(error) => error,
            };
            if !matches!(error, OriginTlsError::Configuration) {
                app.origins.tell(&endpoint, News::DialFailed(&error.to_string()));
            }
            passed_over.push(origin_address);
            let failure = Failure::Dial(Some(origin_address), DialError::Tls(error));
            if passed_over.len() >= MOST_PASSED_OVER {
                return Err(failure);
            }
            failed = Some(failure);
        }
    }

    async fn relay(self, mut client: End<'_>, mut origin: End<'_>, record: &Record) -> Result<(), Failure> {
        let ended = relay::run_secure(self.worker, self.connection, &mut client, &mut origin, record).await;
        match &ended {
            Err(Failure::Idle) => {
                client.last_words(true);
                origin.last_words(true);
            }
            Err(Failure::ClientTls(_)) => {
                client.last_words(false);
                tls::farewell(self.client).await;
            }
            Err(Failure::OriginTls(_)) => origin.last_words(false),
            Ok(()) | Err(_) => {}
        }
        ended
    }
}
