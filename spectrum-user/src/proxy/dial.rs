//! From an application to a connected origin, within a deadline, and before a byte of the client is read: where one origin
//! fails the next is tried, and the client does not notice.

use std::{io, sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout_at},
};

use super::{App, ClientAddr, OriginAddr, outcome::Failure, tls::OriginTlsError};
use crate::{
    listen::{ConnectError, Sources, connect},
    origins::{Candidate, Endpoint, Lease, News, Origins, Unresolved},
};

/// Until the next address of one name is tried beside those that have not answered (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// The same for the next server.
const NEXT_SERVER: Duration = Duration::from_secs(1);

/// Attempts under way at once for one connection: each has a descriptor, and where a whole fleet is silent every
/// connection has this many.
const AT_ONCE: usize = 4;

/// Why no origin accepted. Of several origins, the last one's reason.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the application has no origin for this port")]
    NoOrigin,
    #[error("the origin's name is not resolved: {0}")]
    Unresolved(#[from] Unresolved),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It accepted, and did not take the header that names the client.
    #[error("cannot send the PROXY header")]
    Header(#[source] io::Error),
    /// It accepted, and there was no handshake.
    #[error(transparent)]
    Tls(OriginTlsError),
}

/// A connection to an origin, in the origin's count.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) stream: TcpStream,
    pub(super) origin: OriginAddr,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) lease: Lease,
}

impl DialError {
    /// The product's status code.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::NoOrigin | Self::Connect(ConnectError::Local(_) | ConnectError::NoPort) => 524,
            Self::Unresolved(why) => why.status(),
            Self::Timeout(_) => 522,
            Self::Header(_) => 520,
            Self::Tls(error) => error.status(),
            Self::Connect(ConnectError::Origin(error)) => match error.raw_os_error() {
                Some(libc::ECONNREFUSED) => 521,
                Some(libc::ETIMEDOUT) => 522,
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES) => 523,
                _ => 520,
            },
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        if let Self::Connect(ConnectError::NoPort) = self {
            return "no_source_port";
        }
        if let Self::Tls(error) = self {
            return error.reason();
        }
        match self.status() {
            521 => "origin_refused",
            522 => "origin_timeout",
            523 => "origin_unreachable",
            524 => "dial_failed_here",
            530 => "origin_not_resolved",
            531 => "origin_has_no_record",
            532 => "origin_address_refused",
            _ => "origin_error",
        }
    }
}

/// Connects to the origin whose turn it is, or to the next one, with the time that is left.
///
/// `passed_over`: origins that this connection has tried already.
pub(super) async fn dial(
    app: &App,
    client: ClientAddr,
    edge_port: u16,
    sources: &Sources,
    passed_over: &[OriginAddr],
) -> Result<Dialled, Failure> {
    let timeout = app.config.timeouts.connect;
    let deadline = Instant::now() + timeout;
    if !app.origins.are_known() {
        let known = timeout_at(deadline, app.origins.known()).await.unwrap_or(Err(Unresolved::Failed));
        known.map_err(|why| Failure::Dial(None, DialError::Unresolved(why)))?;
    }
    let mut candidates = app.candidates(client, edge_port);
    candidates.retain(|candidate| !passed_over.contains(&OriginAddr::new(candidate.address)));
    let mut race = Race { origins: &app.origins, sources, timeout, last: (None, DialError::NoOrigin) };
    match race.run(candidates, deadline).await {
        Some(dialled) => Ok(dialled),
        None => Err(Failure::Dial(race.last.0, race.last.1)),
    }
}

/// Attempts of which the first that succeeds is taken.
struct Race<'a> {
    origins: &'a Origins,
    sources: &'a Sources,
    timeout: Duration,
    /// What failed last.
    last: (Option<OriginAddr>, DialError),
}

/// An attempt that is under way. It counts as a connection: who chooses next sees it.
struct Begun {
    candidate: Candidate,
    lease: Lease,
    /// Ends the attempt and closes its socket.
    end: AbortHandle,
}

impl Race<'_> {
    async fn run(&mut self, candidates: Vec<Candidate>, deadline: Instant) -> Option<Dialled> {
        let (sources, patience) = (self.sources, self.patience(candidates.len()));
        let mut waiting = candidates.into_iter();
        let mut begun: Vec<Option<Begun>> = Vec::new();
        let mut attempts = FuturesUnordered::new();
        loop {
            // One more: the first, or because one has failed, or because those under way take long.
            if let Some(candidate) = waiting.next() {
                let (end, ended) = AbortHandle::new_pair();
                let (index, attempt) = (begun.len(), attempt(candidate.clone(), sources));
                attempts.push(async move { (index, Abortable::new(attempt, ended).await) });
                begun.push(Some(Begun { lease: candidate.endpoint.lease(), candidate, end }));
                self.give_up_beyond(AT_ONCE, &mut begun);
            } else if attempts.is_empty() {
                return None;
            }
            let until = if waiting.len() > 0 { deadline.min(Instant::now() + patience) } else { deadline };
            tokio::select! {
                Some((index, ended)) = attempts.next() => {
                    // One that was given up.
                    let Ok(connected) = ended else { continue };
                    let Begun { candidate, lease, .. } = begun.get_mut(index).and_then(Option::take)?;
                    match connected {
                        Ok(stream) => {
                            self.overtaken(&begun, index);
                            return Some(self.won(stream, &candidate, lease));
                        }
                        Err(error) => self.failed(&candidate, error),
                    }
                }
                () = sleep_until(until) => {
                    if until >= deadline {
                        self.too_late(&begun);
                        return None;
                    }
                }
            }
        }
    }

    /// How long one is waited for alone.
    fn patience(&self, candidates: usize) -> Duration {
        let share = self.timeout / u32::try_from(candidates.max(1)).unwrap_or(u32::MAX);
        share.min(if self.origins.are_one_name() { NEXT_ADDRESS } else { NEXT_SERVER })
    }

    fn won(&self, stream: TcpStream, candidate: &Candidate, lease: Lease) -> Dialled {
        self.origins.tell(&candidate.endpoint, News::Dialled);
        let endpoint = Arc::clone(&candidate.endpoint);
        Dialled { stream, origin: OriginAddr::new(candidate.address), endpoint, lease }
    }

    /// The oldest make room for the next: they had the time of several.
    fn give_up_beyond(&mut self, most: usize, begun: &mut [Option<Begun>]) {
        let under_way = begun.iter().flatten().count();
        let oldest = begun.iter_mut().filter(|one| one.is_some()).take(under_way.saturating_sub(most));
        for Begun { candidate, end, .. } in oldest.filter_map(Option::take) {
            end.abort();
            self.silent(&candidate, "no answer while others were tried");
        }
    }

    fn too_late(&mut self, begun: &[Option<Begun>]) {
        for Begun { candidate, .. } in begun.iter().flatten() {
            self.silent(candidate, "no answer");
        }
    }

    /// Who began earlier than the winner and has not answered: it would have cost the client its time.
    fn overtaken(&mut self, begun: &[Option<Begun>], winner: usize) {
        for Begun { candidate, .. } in begun.iter().take(winner).flatten() {
            self.silent(candidate, "no answer before the next one's");
        }
    }

    fn silent(&mut self, candidate: &Candidate, why: &str) {
        self.blame(candidate, io::ErrorKind::TimedOut, why);
        self.last = (Some(OriginAddr::new(candidate.address)), DialError::Timeout(self.timeout));
    }

    fn failed(&mut self, candidate: &Candidate, error: ConnectError) {
        match &error {
            ConnectError::NoPort | ConnectError::Local(_) => {}
            ConnectError::Origin(why) => self.blame(candidate, why.kind(), &why.to_string()),
        }
        self.last = (Some(OriginAddr::new(candidate.address)), error.into());
    }

    fn blame(&self, candidate: &Candidate, failure: io::ErrorKind, why: &str) {
        if candidate.endpoint.is_blamed_for(failure) {
            self.origins.tell(&candidate.endpoint, News::DialFailed(why));
        }
    }
}

async fn attempt(candidate: Candidate, sources: &Sources) -> Result<TcpStream, ConnectError> {
    let (endpoint, port) = (&candidate.endpoint, candidate.address.port());
    if endpoint.lacks_source_for(port) {
        return Err(ConnectError::NoPort);
    }
    let connected = connect(candidate.address, sources).await;
    if let Err(ConnectError::NoPort) = &connected {
        endpoint.found_no_source_for(port);
    }
    connected
}
