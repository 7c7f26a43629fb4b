//! The listening sockets, all in one group, reached only through steering: opened here, or taken over from a process
//! before.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd as _, OwnedFd},
};

use socket2::{Domain, SockRef};

use super::sockets::{BACKLOG, Family, bound_socket, has_ipv6, listening_socket, set_options};

/// The listening sockets of a node: at least one per worker, sharing one loopback port through `SO_REUSEPORT`.
///
/// The kernel spreads connections over the group, and it is enough to put the first into the socket map: `sk_lookup`
/// applies the group of the socket that it is given.
#[derive(Debug)]
pub struct Listeners {
    /// Never empty.
    sockets: Vec<TcpListener>,
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

    /// Takes over those of a process before, with all who wait in them; whatever is none of ours is left out. Where there
    /// are more workers than sockets, others join the group as soon as the workers take connections. Where there are
    /// fewer, no socket is closed: that would reset who waits in it.
    pub fn inherit(sockets: Vec<OwnedFd>, workers: usize) -> Result<Self, BindError> {
        let mut port = None;
        let mut sockets: Vec<TcpListener> = sockets.into_iter().filter_map(|socket| ours(socket, &mut port)).collect();
        let Some(first) = sockets.first() else { return Self::bind(workers) };
        let ipv6 = SockRef::from(first).domain()? == Domain::IPV6;
        let family = if ipv6 { Family::Dual } else { Family::Ipv4 };
        let port = first.local_addr()?.port();
        for socket in &sockets {
            // They may be of a version that decided otherwise.
            set_options(&SockRef::from(socket))?;
        }
        while sockets.len() < workers {
            sockets.push(bound_socket(family, port)?);
        }
        Ok(Self { sockets, ipv6, somaxconn: smaller_somaxconn() })
    }

    /// Where steering leads.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.first().and_then(TcpListener::local_addr)
    }

    /// The one that stands for the group.
    pub fn first(&self) -> io::Result<&TcpListener> {
        self.sockets.first().ok_or_else(|| io::Error::other("no listening socket"))
    }

    /// Other descriptors of the same sockets.
    pub fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned()).collect()
    }

    /// Which worker accepts from which.
    pub fn shares(self, workers: usize) -> Vec<Vec<TcpListener>> {
        let mut shares: Vec<Vec<TcpListener>> = (0..workers.max(1)).map(|_| Vec::new()).collect();
        for (index, socket) in self.sockets.into_iter().enumerate() {
            let worker = index % shares.len();
            if let Some(share) = shares.get_mut(worker) {
                share.push(socket);
            }
        }
        shares
    }
}

/// A listening socket on loopback, on the same port as those before it.
fn ours(socket: OwnedFd, port: &mut Option<u16>) -> Option<TcpListener> {
    let listens = SockRef::from(&socket).is_listener().unwrap_or(false);
    let socket = TcpListener::from(socket);
    let address = socket.local_addr().ok().filter(|address| listens && address.ip().to_canonical().is_loopback())?;
    (*port.get_or_insert(address.port()) == address.port()).then_some(socket)
}

fn smaller_somaxconn() -> Option<u32> {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()?;
    (limit < BACKLOG.cast_unsigned()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(listeners: &Listeners) -> Vec<SocketAddr> {
        listeners.sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
    }

    #[test]
    fn workers_share_one_port_that_only_loopback_reaches() {
        let addresses = addresses(&Listeners::bind(3).unwrap());
        assert_eq!(addresses.len(), 3);
        assert!(addresses.iter().all(|a| *a == addresses[0]), "{addresses:?}");
        assert!(addresses[0].ip().to_canonical().is_loopback(), "{addresses:?}");
    }

    #[test]
    fn more_workers_join_the_group_and_fewer_leave_no_socket_behind() {
        let before = Listeners::bind(2).unwrap();
        for workers in [1, 2, 5] {
            let after = Listeners::inherit(before.duplicates().unwrap(), workers).unwrap();
            assert_eq!(addresses(&after), vec![before.address().unwrap(); workers.max(2)]);
            let shares: Vec<usize> = after.shares(workers).iter().map(Vec::len).collect();
            assert_eq!(shares.len(), workers);
            assert!(shares.iter().all(|share| *share > 0) && shares.iter().sum::<usize>() == workers.max(2));
        }
    }

    #[test]
    fn what_is_no_listening_socket_of_ours_is_not_taken() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(other.local_addr().unwrap()).unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        let ours = Listeners::bind(1).unwrap();
        let mut given: Vec<OwnedFd> = vec![file.into(), connected.into()];
        given.extend(ours.duplicates().unwrap());
        given.push(other.into());
        let taken = Listeners::inherit(given, 1).unwrap();
        assert_eq!(addresses(&taken), [ours.address().unwrap()]);
    }
}
