//! The record of one connection: consumed exactly once, whatever happens (invariant I10).

use std::{
    cell::Cell,
    os::fd::AsFd as _,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::net::TcpStream;

use super::{
    App, ClientAddr, EdgeAddr, OriginAddr, UniqueId,
    outcome::{Failure, Outcome},
    worker::Worker,
};
use crate::{
    geo::Whereabouts,
    listen::TcpInfo,
    telemetry::{AppShard, DIAL_ERRORS, Event, EventKind, HANDSHAKES, Matched, TLS_ERRORS},
    tls::{ClientHandshake, OriginHandshake},
};

#[must_use = "call finish(); dropping it records an aborted connection"]
pub(super) struct Record {
    worker: Rc<Worker>,
    client: ClientAddr,
    edge: EdgeAddr,
    opened: Instant,
    app: Option<Arc<App>>,
    matched: Matched,
    origin: Option<OriginAddr>,
    unique_id: Option<UniqueId>,
    client_tls: Option<Box<ClientHandshake>>,
    origin_tls: Option<Box<OriginHandshake>>,
    connected: Option<SystemTime>,
    rtt: Option<(Duration, Duration)>,
    pub(super) moved: Moved,
    finished: bool,
}

/// Bytes of one connection, counted as they move.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) from_client: Cell<u64>,
    pub(super) from_origin: Cell<u64>,
    pub(super) spliced: Cell<u64>,
}

impl Record {
    pub(super) fn open(worker: &Rc<Worker>, client: ClientAddr, edge: EdgeAddr) -> Self {
        Self {
            worker: Rc::clone(worker),
            client,
            edge,
            opened: Instant::now(),
            app: None,
            matched: Matched::Unknown,
            origin: None,
            unique_id: None,
            client_tls: None,
            origin_tls: None,
            connected: None,
            rtt: None,
            moved: Moved::default(),
            finished: false,
        }
    }

    pub(super) fn classified(&mut self, app: &Arc<App>) {
        self.app = Some(Arc::clone(app));
        self.count(|shard| shard.opened.add(1));
    }

    pub(super) fn allowed(&mut self, matched: Matched) {
        self.matched = matched;
    }

    /// What is known of the client's TLS.
    pub(super) fn client_tls(&self) -> Option<&ClientHandshake> {
        self.client_tls.as_deref()
    }

    /// There was a handshake with the client, or an attempt.
    pub(super) fn shook_hands(&mut self, tls: Box<ClientHandshake>) {
        let how = (tls.version, tls.resumed);
        if tls.status == "OK"
            && let Some(slot) = HANDSHAKES.iter().position(|known| *known == how)
        {
            self.count(|shard| shard.handshakes.get(slot).map_or((), |counter| counter.add(1)));
        }
        self.client_tls = Some(tls);
    }

    /// The same with the origin.
    pub(super) fn origin_shook_hands(&mut self, tls: Box<OriginHandshake>) {
        self.origin_tls = Some(tls);
    }

    /// The origin knows the connection by this name.
    pub(super) fn announced(&mut self, unique_id: Option<UniqueId>) {
        self.unique_id = unique_id;
    }

    /// Both legs stand: the connect event.
    pub(super) fn connected(&mut self, origin: OriginAddr) {
        let latency = self.opened.elapsed();
        self.origin = Some(origin);
        self.count(|shard| shard.dial_latency.record(latency));
        let now = SystemTime::now();
        // Also for who begins to read later.
        self.connected = Some(now);
        if self.worker.telemetry.events.is_wanted() {
            self.emit(EventKind::Connect, 0, "connected", now, None);
        }
    }

    /// Asks the kernel for the round trip times, while the sockets are still there. Without an origin only where nothing was
    /// measured before.
    pub(super) fn measure(&mut self, client: &TcpStream, origin: Option<&TcpStream>) {
        if self.worker.telemetry.events.is_wanted() && (origin.is_some() || self.rtt.is_none()) {
            self.rtt = Some((round_trip(client), origin.map(round_trip).unwrap_or_default()));
        }
    }

    /// This worker's counters of the application.
    pub(super) fn shard(&self) -> Option<&AppShard> {
        self.app.as_ref().and_then(|app| app.metrics.worker(self.worker.index))
    }

    pub(super) fn finish(mut self, outcome: &Outcome) {
        self.conclude(outcome);
    }

    fn conclude(&mut self, outcome: &Outcome) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Outcome::Failed(Failure::Denied(matched) | Failure::Revoked(matched)) = outcome {
            self.matched = *matched;
        }
        if let Outcome::Failed(Failure::Dial(origin, _)) = outcome {
            self.origin = *origin;
        }
        if let Outcome::Failed(failure) = outcome {
            log::debug!("{} to {}: {failure}", self.client, self.edge);
        }
        self.count_end(outcome);
        if self.app.is_some() && self.worker.telemetry.events.is_wanted() {
            let now = SystemTime::now();
            self.emit(outcome.event(), outcome.status(), outcome.reason(), now, Some(now));
        }
    }

    fn count_end(&self, outcome: &Outcome) {
        if let Some(node) = self.worker.shard() {
            match outcome {
                Outcome::Aborted { panicking: true } => node.panics.add(1),
                _ if self.app.is_none() => node.unclassified.add(1),
                _ => {}
            }
        }
        self.count(|shard| {
            shard.closed.add(1);
            match outcome {
                Outcome::Failed(Failure::Denied(_) | Failure::Revoked(_)) => shard.denied.add(1),
                Outcome::Failed(Failure::Crowded(_)) => shard.limited.add(1),
                Outcome::Failed(Failure::Challenge) => shard.challenges.add(1),
                Outcome::Failed(Failure::NoChallenge | Failure::ChallengeLate(_)) => shard.no_challenges.add(1),
                Outcome::Failed(Failure::Dial(_, error)) => {
                    let how = (error.status(), error.reason());
                    let slot = DIAL_ERRORS.iter().position(|known| *known == how);
                    if let Some(counter) = slot.and_then(|slot| shard.dial_errors.get(slot)) {
                        counter.add(1);
                    }
                }
                _ => {}
            }
            if outcome.event() == EventKind::TlsError {
                let how = (outcome.status(), outcome.reason());
                let slot = TLS_ERRORS.iter().position(|known| *known == how);
                if let Some(counter) = slot.and_then(|slot| shard.tls_errors.get(slot)) {
                    counter.add(1);
                }
            }
        });
    }

    fn emit(
        &self,
        kind: EventKind,
        status: u16,
        reason: &'static str,
        at: SystemTime,
        disconnected: Option<SystemTime>,
    ) {
        let Some(app) = &self.app else { return };
        let (client_rtt, origin_rtt) = self.rtt.unwrap_or_default();
        let Whereabouts { asn: client_asn, country: client_country } = self.worker.table().whereabouts(self.client);
        self.worker.telemetry.events.emit(Event {
            kind,
            status,
            reason,
            at,
            app: Arc::clone(&app.metrics),
            ip_firewall: app.config.ip_firewall,
            proxy_protocol: app.config.proxy_protocol.as_str(),
            unique_id: self.unique_id.map(|id| id.to_string()),
            matched: self.matched,
            client_tls: self.client_tls.clone(),
            tls_mode: app.config.tls.mode.as_str(),
            origin_tls: self.origin_tls.clone(),
            client: self.client.socket_addr(),
            client_asn,
            client_country,
            edge: self.edge.socket_addr(),
            origin: self.origin.map(OriginAddr::socket_addr),
            connected: self.connected,
            disconnected,
            client_bytes: self.moved.from_client.get(),
            origin_bytes: self.moved.from_origin.get(),
            spliced_bytes: self.moved.spliced.get(),
            client_rtt,
            origin_rtt,
        });
    }

    fn count(&self, add: impl FnOnce(&AppShard)) {
        if let Some(shard) = self.shard() {
            add(shard);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.conclude(&Outcome::Aborted { panicking: thread::panicking() });
    }
}

/// The kernel's smoothed round trip time; zero where it knows none.
fn round_trip(stream: &TcpStream) -> Duration {
    TcpInfo::of(stream.as_fd()).map(|info| info.round_trip()).unwrap_or_default()
}
