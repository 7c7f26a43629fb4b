//! Ports that no application has, where challenges of directories are answered and nothing else.
//!
//! Whoever connects there is looked at as a client of the application whose port it would be: by its access rules and within
//! its limits, and with a handshake's deadline and place, also where HTTP is spoken. Deliberately not here: which ports
//! these are (`acme`), and the port of an application that is asked for a file in between (`beside`).

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    App, ClientAddr, EdgeAddr, beside, connection::Connection, outcome::Failure, patience::unless_ended,
    record::Record, tls, worker::Worker,
};
use crate::{
    model::{AcmeChallenge, AppId, Responder},
    tls::{Challenged, ClientTls, Http01},
};

/// The ports of one table.
#[derive(Debug, Default)]
pub(crate) struct Responders(HashMap<(IpAddr, u16), (AcmeChallenge, Arc<App>)>);

impl Responders {
    pub(super) fn new(responders: &[Responder], apps: &HashMap<AppId, Arc<App>>) -> Self {
        let known = responders.iter().filter_map(|responder| {
            let Responder { address, challenge, app } = *responder;
            Some(((address.to_canonical(), challenge.port()), (challenge, Arc::clone(apps.get(&app)?))))
        });
        Self(known.collect())
    }

    /// What is answered there, and as which application. Asked where no application has the port.
    pub(crate) fn find(&self, edge: EdgeAddr) -> Option<(AcmeChallenge, &Arc<App>)> {
        self.0.get(&(edge.ip(), edge.port())).map(|(challenge, app)| (*challenge, app))
    }
}

/// A connection to such a port.
#[derive(Clone, Copy)]
pub(super) struct Caller<'c> {
    pub(super) worker: &'c Worker,
    pub(super) connection: &'c Rc<Connection>,
    pub(super) app: &'c App,
    pub(super) client: &'c TcpStream,
    pub(super) address: ClientAddr,
}

impl<'c> Caller<'c> {
    /// What comes before an application's own way with a connection, if anything does. Of its own, and on the heap: hardly any
    /// connection needs it, and none should be larger for it.
    ///
    /// `challenge`: of a port where nothing else is answered. `asked`: who knows of files that may be asked for here.
    pub(super) fn first(
        self,
        challenge: Option<AcmeChallenge>,
        asked: Option<Arc<dyn Challenged>>,
        record: &'c mut Record,
    ) -> Option<Pin<Box<dyn Future<Output = Result<(), Failure>> + 'c>>> {
        if let Some(challenge) = challenge {
            return Some(Box::pin(async move { Err(self.answer(challenge, record).await) }));
        }
        let challenged = asked?;
        Some(Box::pin(async move { beside::answer(&*challenged, self.connection, self.client).await }))
    }

    /// Answers, and says how that ended.
    async fn answer(self, challenge: AcmeChallenge, record: &mut Record) -> Failure {
        let (limits, challenged) = {
            let table = self.worker.table();
            (table.tls().handshakes, table.tls().challenges.clone())
        };
        // Nobody asks for certificates: the port is not ours any more.
        let Some(challenged) = challenged else { return Failure::Unclassified };
        // Outside of pools a program of this host may want the port: what waits after the end of this connection must not keep it
        // from listening (`inet_bind_conflict`, net/ipv4/inet_connection_sock.c).
        if let Err(error) = SockRef::from(self.client).set_reuse_address(true) {
            log::debug!("the port of a challenge is not free at once: {error}");
        }
        let place = match self.worker.handshakes.enter(limits, self.address.ip(), self.connection) {
            Ok(place) => place,
            Err(failure) => return failure,
        };
        let failure = match challenge {
            AcmeChallenge::TlsAlpn01 => self.shake_hands(&*challenged, record).await,
            AcmeChallenge::Http01 => self.show_file(&*challenged).await,
        };
        drop(place);
        if !failure.resets_client() {
            tls::farewell(self.client).await;
        }
        failure
    }

    async fn shake_hands(self, challenged: &dyn Challenged, record: &mut Record) -> Failure {
        let mut facts = Box::<ClientTls>::default();
        let shaking = tls::show(challenged, self.client, self.app.config.timeouts.handshake, &mut facts);
        let shaken = unless_ended(self.connection, pin!(shaking)).await;
        if let Ok(Err(error)) = &shaken {
            facts.status = error.as_str();
        }
        record.shook_hands(facts);
        match shaken {
            Ok(Ok(())) => Failure::Challenge,
            Ok(Err(error)) => Failure::Handshake(error),
            Err(failure) => failure,
        }
    }

    async fn show_file(self, challenged: &dyn Challenged) -> Failure {
        let patience = self.app.config.timeouts.handshake;
        let answering = answer(challenged, self.client, patience);
        unless_ended(self.connection, pin!(answering)).await.unwrap_or_else(|failure| failure)
    }
}

/// Reads one request, which is bounded in time and bytes, and answers it.
async fn answer(challenged: &dyn Challenged, client: &TcpStream, patience: Duration) -> Failure {
    let deadline = Instant::now() + patience;
    let mut read = Vec::new();
    loop {
        match challenged.http01(&read) {
            Http01::More => {}
            Http01::Shown(bytes) => return said(client, &bytes, Failure::Challenge),
            Http01::Refused(bytes) => return said(client, &bytes, Failure::NoChallenge),
        }
        match timeout_at(deadline, more(client, &mut read)).await {
            Ok(Ok(0)) => return Failure::NoChallenge,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Failure::Client(error),
            Err(_) => return Failure::ChallengeLate(patience),
        }
    }
}

async fn more(client: &TcpStream, read: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        client.readable().await?;
        match client.try_read_buf(read) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

/// Some hundred bytes into an empty buffer: they go whole, or the client has gone.
pub(super) fn said(client: &TcpStream, bytes: &[u8], failure: Failure) -> Failure {
    match client.try_write(bytes) {
        Ok(_) => failure,
        Err(error) => Failure::Client(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::DesiredState,
        proxy::{AppTable, testing::application},
        telemetry::Metrics,
        tls::Shared,
    };

    #[test]
    fn a_port_for_challenges_alone_is_no_applications() {
        let app = application(8443, 8443);
        let loopback = "::ffff:127.0.0.1".parse().unwrap();
        let responders = vec![Responder { address: loopback, challenge: AcmeChallenge::Http01, app: app.id }];
        let state = DesiredState { applications: vec![app.clone()], responders, ..DesiredState::default() };
        let table = AppTable::new(&state, Arc::default(), &Shared::default(), None, &Metrics::new(1));
        let table = table.with_rules(table.rules().clone());
        let at = |text: &str| EdgeAddr::new(text.parse().unwrap());
        assert!(table.classify(at("127.0.0.1:80")).is_none());
        let (challenge, found) = table.responders().find(at("127.0.0.1:80")).unwrap();
        assert_eq!((challenge, found.config.id), (AcmeChallenge::Http01, app.id));
        assert!(table.responders().find(at("127.0.0.1:443")).is_none());
        assert!(table.responders().find(at("127.0.0.2:80")).is_none());
    }
}
