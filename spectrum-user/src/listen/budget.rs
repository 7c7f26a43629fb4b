//! How many connections fit into the descriptors that this process may open, and who holds one of those places.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors for everything that is not traffic: maps, links, control connections, logs, epoll, libraries.
const RESERVED: usize = 256;
/// Both sockets of a connection.
const PER_CONNECTION: usize = 2;
/// Both ends of a pipe.
const PER_PIPE: usize = 2;
/// Pipes beyond this many bulk transfers at once bring nothing: copying takes over.
const MOST_PIPES: usize = 512;

/// What `RLIMIT_NOFILE` leaves for traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Connections at once, over all workers.
    pub connections: usize,
    /// Pipes at once, over all workers.
    pub pipes: usize,
}

impl Budget {
    /// Raises the soft limit to the hard one (the soft one only protects programs that use `select`) and divides it.
    pub fn claim() -> io::Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(Self::divide(usize::try_from(hard).unwrap_or(usize::MAX)))
    }

    /// The division of `files` descriptors.
    pub const fn divide(files: usize) -> Self {
        let traffic = files.saturating_sub(RESERVED);
        let sixteenth = traffic / 16 / PER_PIPE;
        let pipes = if sixteenth < MOST_PIPES { sixteenth } else { MOST_PIPES };
        Self { connections: (traffic - pipes * PER_PIPE) / PER_CONNECTION, pipes }
    }
}

/// The door: lets as many in as there are places.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Places>);

#[derive(Debug)]
struct Places {
    taken: AtomicUsize,
    limit: usize,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Places>);

impl Admission {
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Places { taken: AtomicUsize::new(0), limit }))
    }

    pub fn enter(&self) -> Option<Permit> {
        if self.0.taken.fetch_add(1, Relaxed) >= self.0.limit {
            self.0.taken.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Permit(Arc::clone(&self.0)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_thousand_files_are_room_for_more_than_nine_thousand_connections() {
        let budget = Budget::divide(20_000);
        assert!(budget.connections > 9_000, "{budget:?}");
        assert!(budget.connections * PER_CONNECTION + budget.pipes * PER_PIPE + RESERVED <= 20_000, "{budget:?}");
    }

    #[test]
    fn few_files_are_room_for_nothing_rather_than_a_panic() {
        assert_eq!(Budget::divide(0), Budget { connections: 0, pipes: 0 });
        assert_eq!(Budget::divide(RESERVED), Budget { connections: 0, pipes: 0 });
    }

    #[test]
    fn a_place_is_free_again_when_its_permit_goes() {
        let door = Admission::new(1);
        let permit = door.enter().unwrap();
        assert!(door.enter().is_none());
        drop(permit);
        assert!(door.enter().is_some());
    }
}
