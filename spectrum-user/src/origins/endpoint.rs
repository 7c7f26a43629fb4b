//! One origin: an address with its ports, and what is known of it.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    News,
    health::{Change, Health, Rules, Standing},
};
use crate::model::PortRange;

/// The same value for as long as the origin is in the set, whatever else comes and goes.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) address: IpAddr,
    pub(super) ports: PortRange,
    /// Connections that are open.
    open: AtomicUsize,
    /// Of several ports: when a dial to one of them succeeded last, in milliseconds of `clock`; 0: never.
    accepted: AtomicU64,
    /// Whether `known` says anything: saves the lock for one that is well.
    troubled: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    health: Health,
    /// There was no port left to dial this port of it from: until then nobody looks for one.
    no_port_until: Option<(u16, Instant)>,
    /// Why it failed last.
    failure: Option<String>,
}

/// How long nobody looks for a source port after there was none: the kernel walks through all of them each time.
const NO_PORT: Duration = Duration::from_millis(50);

/// How long a dial that succeeded proves that a host lives whose other ports do not answer.
const PROVEN: Duration = Duration::from_secs(5);

/// Milliseconds since a moment before anything was dialled, never 0.
fn clock(now: Instant) -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let since = now.saturating_duration_since(*BEGIN.get_or_init(|| now));
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// One open connection in the count of its origin, until dropped.
#[derive(Debug)]
pub struct Lease(Arc<Endpoint>);

impl Endpoint {
    pub(super) fn new(address: IpAddr, ports: PortRange) -> Self {
        Self {
            address,
            ports,
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            troubled: AtomicBool::new(false),
            known: Mutex::default(),
        }
    }

    pub(super) fn is(&self, address: IpAddr, ports: PortRange) -> bool {
        self.address == address && self.ports == ports
    }

    pub const fn address(&self) -> IpAddr {
        self.address
    }

    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    pub fn is_up(&self) -> bool {
        !self.troubled.load(Relaxed) || self.known().health.is_up()
    }

    /// Why it failed last, while it is down.
    pub fn failure(&self) -> Option<String> {
        let known = self.known();
        if known.health.is_up() { None } else { known.failure.clone() }
    }

    /// Where a check asks.
    pub(super) const fn check_address(&self, port: Option<u16>) -> SocketAddr {
        let port = match port {
            Some(port) => port,
            None => self.ports.first(),
        };
        SocketAddr::new(self.address, port)
    }

    pub(super) fn standing(&self, now: Instant, rules: Rules) -> Standing {
        if self.troubled.load(Relaxed) { self.known().health.standing(now, rules) } else { Standing::Up }
    }

    /// A connection begins with it.
    pub(super) fn begun(&self, now: Instant) {
        if self.troubled.load(Relaxed) {
            self.known().health.tried(now);
        }
    }

    pub(super) fn tell(&self, news: News<'_>, now: Instant, rules: Rules) -> Option<Change> {
        let is_good = matches!(news, News::Dialled | News::Checked);
        if matches!(news, News::Dialled) && self.ports.count() > 1 {
            self.accepted.store(clock(now), Relaxed);
        }
        if is_good && !self.troubled.load(Relaxed) {
            return None;
        }
        let mut known = self.known();
        if let News::DialFailed(why) | News::CheckFailed(why) = news {
            known.failure = Some(why.to_owned());
        }
        let change = known.health.tell(news, now, rules);
        let is_well = known.health.is_perfect() && known.no_port_until.is_none_or(|(_, until)| until <= now);
        self.troubled.store(!is_well, Relaxed);
        change
    }

    /// Whether a failed dial to one port says anything about the others.
    ///
    /// Whoever scans the ports of a range meets closed ones: of a host that refuses, and of one that served another port a
    /// moment ago, that is no news. Else any client could have origins left out.
    pub fn is_blamed_for(&self, failure: io::ErrorKind) -> bool {
        if self.ports.count() == 1 {
            return true;
        }
        let refused = failure == io::ErrorKind::ConnectionRefused;
        let accepted = self.accepted.load(Relaxed);
        let lately = u64::try_from(PROVEN.as_millis()).unwrap_or(u64::MAX);
        !refused && (accepted == 0 || clock(Instant::now()).saturating_sub(accepted) > lately)
    }

    /// Whether there was no source port for this port of it a moment ago.
    pub fn lacks_source_for(&self, port: u16) -> bool {
        let lacks = |(of, until)| of == port && Instant::now() < until;
        self.troubled.load(Relaxed) && self.known().no_port_until.is_some_and(lacks)
    }

    /// No source port was left to dial this port of it from.
    pub fn found_no_source_for(&self, port: u16) {
        let mut known = self.known();
        known.no_port_until = Some((port, Instant::now() + NO_PORT));
        self.troubled.store(true, Relaxed);
    }

    /// Counts a connection.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.open.fetch_add(1, Relaxed);
        Lease(Arc::clone(self))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// As people write it: `192.0.2.1:22`, `[2001:db8::1]:3000-4000`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(v4) => write!(f, "{v4}:{}", self.ports),
            IpAddr::V6(v6) => write!(f, "[{v6}]:{}", self.ports),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(first: u16, last: u16) -> Endpoint {
        Endpoint::new(IpAddr::from([192, 0, 2, 1]), PortRange::new(first, last).unwrap())
    }

    #[test]
    fn closed_ports_of_a_range_do_not_tell_against_the_host() {
        let (refused, silent) = (io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut);
        let one = endpoint(22, 22);
        assert!(one.is_blamed_for(refused) && one.is_blamed_for(silent));
        let range = endpoint(3000, 4000);
        assert!(!range.is_blamed_for(refused));
        assert!(range.is_blamed_for(silent), "nothing says that it lives");
        range.tell(News::Dialled, Instant::now(), Rules::of(None));
        assert!(!range.is_blamed_for(silent));
    }

    #[test]
    fn a_port_without_sources_leaves_the_others_alone() {
        let range = endpoint(3000, 4000);
        range.found_no_source_for(3005);
        assert!(range.lacks_source_for(3005) && !range.lacks_source_for(3006));
    }
}
