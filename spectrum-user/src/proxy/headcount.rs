//! How many connections an application has, and each of its clients: exact over all workers.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use crate::model::ConnectionLimits;

/// The count of one application. It outlives a change of the application, and of its limits.
#[derive(Debug, Default)]
pub(super) struct Headcount {
    all: AtomicU32,
    /// Clients with connections, also while there is no limit to theirs: one that comes with a reload holds for who is
    /// there. Parts, so that workers seldom meet.
    clients: [Mutex<HashMap<IpAddr, u32>>; PARTS],
}

const PARTS: usize = 16;

/// One connection in the count, until dropped.
#[derive(Debug)]
pub(super) struct Counted {
    headcount: Arc<Headcount>,
    /// Who it is counted for; nobody yet.
    client: Option<IpAddr>,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    All,
    PerClient,
}

impl Headcount {
    pub(super) fn enter(self: &Arc<Self>, limits: ConnectionLimits, client: IpAddr) -> Result<Counted, Reached> {
        if self.all.fetch_add(1, Relaxed) >= limits.all.unwrap_or(u32::MAX) {
            self.all.fetch_sub(1, Relaxed);
            return Err(Reached::All);
        }
        let mut counted = Counted { headcount: Arc::clone(self), client: None };
        let client = one(client);
        let mut part = self.part(client);
        let count = part.entry(client).or_default();
        if *count >= limits.per_client.unwrap_or(u32::MAX) {
            drop(part);
            return Err(Reached::PerClient);
        }
        *count += 1;
        counted.client = Some(client);
        drop(part);
        Ok(counted)
    }

    fn part(&self, client: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let last = match client {
            IpAddr::V4(v4) => v4.octets()[3],
            // Of the /64 that it stands for.
            IpAddr::V6(v6) => v6.octets()[7],
        };
        let [first, ..] = &self.clients;
        let part = self.clients.get(usize::from(last) % PARTS).unwrap_or(first);
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.headcount.all.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        let mut part = self.headcount.part(client);
        if let Some(count) = part.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                part.remove(&client);
                // What a flood of clients has taken is given back.
                let left = part.len();
                if part.capacity() > 4 * left + ROOM {
                    part.shrink_to(2 * left);
                }
            }
        }
    }
}

const ROOM: usize = 64;

/// Who is one client: an IPv4 address, or an IPv6 /64, out of which one host takes as many addresses as it likes.
fn one(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    const FEW: ConnectionLimits = ConnectionLimits { all: Some(3), per_client: Some(2) };

    #[test]
    fn limits_hold_for_one_and_for_all() {
        let headcount = Arc::new(Headcount::default());
        let enter = |client: &str| headcount.enter(FEW, client.parse().unwrap());
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").unwrap_err(), Reached::PerClient);
        let third = enter("192.0.2.2").unwrap();
        assert_eq!(enter("192.0.2.3").unwrap_err(), Reached::All);
        drop(first);
        assert!(enter("192.0.2.1").is_ok());
        drop(third);
    }

    #[test]
    fn a_limit_that_comes_later_holds_for_who_is_there() {
        let headcount = Arc::new(Headcount::default());
        let client = IpAddr::from([192, 0, 2, 1]);
        let _early: Vec<_> = (0..5).map(|_| headcount.enter(ConnectionLimits::default(), client).unwrap()).collect();
        assert_eq!(
            headcount.enter(ConnectionLimits { all: None, per_client: Some(5) }, client).unwrap_err(),
            Reached::PerClient
        );
    }

    #[test]
    fn a_host_of_ipv6_is_one_client_whatever_address_it_takes() {
        let headcount = Arc::new(Headcount::default());
        let enter = |client: &str| headcount.enter(FEW, client.parse().unwrap());
        let _one = enter("2001:db8:1:2::1").unwrap();
        let _other = enter("2001:db8:1:2:ffff::2").unwrap();
        assert_eq!(enter("2001:db8:1:2:3::3").unwrap_err(), Reached::PerClient);
        assert!(enter("2001:db8:1:3::1").is_ok());
    }

    #[test]
    fn nobody_is_forgotten_and_nobody_is_kept() {
        let headcount = Arc::new(Headcount::default());
        for n in 0..10_000_u32 {
            drop(headcount.enter(ConnectionLimits { all: None, per_client: Some(1) }, IpAddr::from(n.to_be_bytes())));
        }
        assert_eq!(headcount.all.load(Relaxed), 0);
        for part in &headcount.clients {
            let part = part.lock().unwrap();
            assert!(part.is_empty() && part.capacity() <= 2 * ROOM, "{}", part.capacity());
        }
    }

    #[test]
    fn workers_that_race_let_exactly_as_many_in() {
        const THREADS: usize = 8;
        let headcount = Arc::new(Headcount::default());
        let limits = ConnectionLimits { all: Some(100), per_client: Some(40) };
        let barrier = Barrier::new(THREADS);
        let entered: Vec<Counted> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        (0..1000)
                            .filter_map(|_| headcount.enter(limits, [192, 0, 2, 1].into()).ok())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(entered.len(), 40);
    }
}
