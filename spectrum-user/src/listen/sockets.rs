//! The only place where traffic sockets are opened, so that their options are decided once.
//!
//! The options of a listening socket are copied to every socket it accepts (`sk_clone_lock`, net/core/sock.c), so an
//! accepted connection costs no `setsockopt` at all.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Probe a silent peer after this long: a peer that vanished without a word is noticed by nothing else.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_COUNT: u32 = 4;
/// How long sent bytes may stay unacknowledged, zero windows included. It also replaces the keepalive count, so it is
/// shorter than idle + interval * count: what answers nothing is gone 90 seconds after its last sign of life.
const USER_TIMEOUT: Duration = Duration::from_secs(90);

/// As long as the kernel lets it be: clamped by `net.core.somaxconn`. It is also when SYN cookies begin.
pub(super) const BACKLOG: i32 = 65535;

/// Which address family a listening socket can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// One socket for both: `AF_INET6` bound to an IPv4-mapped loopback address. `bpf_sk_assign` gives it packets of
    /// either family (net/core/filter.c refuses only `AF_INET` sockets and v6only ones for the other family), while
    /// nothing but loopback reaches it without steering.
    Dual,
    /// Where IPv6 is disabled.
    Ipv4,
}

/// A listening socket on loopback, one of a group that shares `port` (0: the kernel chooses).
pub(super) fn listening_socket(family: Family, port: u16) -> io::Result<TcpListener> {
    let (domain, address) = match family {
        Family::Dual => (Domain::IPV6, IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped())),
        Family::Ipv4 => (Domain::IPV4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    listening_socket_at(domain, SocketAddr::new(address, port))
}

fn listening_socket_at(domain: Domain, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    guard(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket to dial an origin with, non-blocking, not yet connected. Where the connection lasts it needs a [`guard`].
pub(crate) fn origin_socket(origin: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(origin), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Lets no peer be silent forever. Five system calls, which a connection of a few milliseconds does without.
pub(crate) fn guard(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_COUNT),
    )?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Whether the kernel has IPv6 at all (`ipv6.disable=1` makes `socket` fail with EAFNOSUPPORT).
pub(super) fn has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn an_accepted_socket_has_the_options_of_its_listener() {
        let listener = listening_socket(Family::Dual, 0).unwrap();
        listener.set_nonblocking(false).unwrap();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port())).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip().to_canonical(), client.local_addr().unwrap().ip());
        is_guarded(&SockRef::from(&accepted));
    }

    #[test]
    fn a_guarded_origin_socket_has_the_same_options() {
        for origin in ["127.0.0.1:9", "[::1]:9"] {
            let socket = origin_socket(origin.parse().unwrap()).unwrap();
            guard(&SockRef::from(&socket)).unwrap();
            is_guarded(&SockRef::from(&socket));
        }
    }

    fn is_guarded(socket: &SockRef<'_>) {
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_COUNT);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
