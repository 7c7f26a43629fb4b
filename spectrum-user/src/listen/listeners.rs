//! One listening socket per worker, all in one group, reached only through steering.

use std::{fs, io, net::TcpListener};

use super::sockets::{BACKLOG, Family, has_ipv6, listening_socket};

/// The listening sockets of a node: one per worker, sharing one loopback port through `SO_REUSEPORT`.
///
/// The kernel spreads connections over the group, and it is enough to put the first into the socket map: `sk_lookup`
/// applies the group of the socket that it is given.
#[derive(Debug)]
pub struct Listeners {
    /// Never empty; in worker order.
    pub sockets: Vec<TcpListener>,
    /// False where the kernel has no IPv6: then no IPv6 edge address can be served.
    pub ipv6: bool,
    /// The backlog that holds, where `net.core.somaxconn` cuts what was asked for.
    pub somaxconn: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
#[error("no listening socket on loopback")]
pub struct BindError(#[from] io::Error);

impl Listeners {
    /// Opens them in the network namespace of the calling thread.
    pub fn bind(workers: usize) -> Result<Self, BindError> {
        let ipv6 = has_ipv6();
        let family = if ipv6 { Family::Dual } else { Family::Ipv4 };
        let first = listening_socket(family, 0)?;
        let port = first.local_addr()?.port();
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(listening_socket(family, port)?);
        }
        Ok(Self { sockets, ipv6, somaxconn: smaller_somaxconn() })
    }
}

fn smaller_somaxconn() -> Option<u32> {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()?;
    (limit < BACKLOG.cast_unsigned()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port_that_only_loopback_reaches() {
        let listeners = Listeners::bind(3).unwrap();
        let addresses: Vec<_> = listeners.sockets.iter().map(|s| s.local_addr().unwrap()).collect();
        assert_eq!(addresses.len(), 3);
        assert!(addresses.iter().all(|a| *a == addresses[0]), "{addresses:?}");
        assert!(addresses[0].ip().to_canonical().is_loopback(), "{addresses:?}");
    }
}
