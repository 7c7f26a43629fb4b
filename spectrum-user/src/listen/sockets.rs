//! The only place where traffic sockets are opened, so that their options are decided once.
//!
//! The options of a listening socket are copied to every socket it accepts (`sk_clone_lock`, net/core/sock.c), so an
//! accepted connection costs no `setsockopt` at all.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::model::{Keepalive, Timeouts};

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
    let socket = bound_socket(family, port)?;
    listen(&SockRef::from(&socket))?;
    Ok(socket)
}

/// One that will listen, and does not yet: it joins the group when it does (`inet_hash`, `net/ipv4/inet_hashtables.c`), so
/// until then no client waits in it.
pub(super) fn bound_socket(family: Family, port: u16) -> io::Result<TcpListener> {
    let (domain, address) = match family {
        Family::Dual => (Domain::IPV6, IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped())),
        Family::Ipv4 => (Domain::IPV4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    bound_socket_at(domain, SocketAddr::new(address, port))
}

/// Begins to listen; where it does already, only the backlog is said anew.
pub(super) fn listen(socket: &SockRef<'_>) -> io::Result<()> {
    socket.listen(BACKLOG)
}

/// What every connection that is accepted inherits.
pub(super) fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    passes_all(socket)?;
    guard(socket, &Timeouts::default())
}

/// Every byte at once, an urgent one in its place among the others: else it is taken out of the stream.
fn passes_all(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)
}

fn bound_socket_at(domain: Domain, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    set_options(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A socket to dial an origin with, non-blocking, not yet connected. Where the connection lasts it needs a [`guard`].
pub(crate) fn origin_socket(origin: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(origin), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    passes_all(&SockRef::from(&socket))?;
    Ok(socket)
}

/// A listening socket at an address of this host, beside whatever steering does.
pub(crate) fn plain_listening_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Not REUSEPORT: a second one at this address is refused. The first one's connections in TIME_WAIT are no obstacle.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    set_options(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// As [`origin_socket`], for a connection that seems to come from `client`, whose address this host does not have.
///
/// From the client's port, too, where it is free here: else from any. It is not where somebody of this host listens on
/// it, or where the same client has come with it by another way a moment ago.
pub(crate) fn origin_socket_as(client: SocketAddr, origin: SocketAddr) -> io::Result<Socket> {
    let socket = origin_socket(origin)?;
    set_transparent(&socket, origin.is_ipv6())?;
    socket.set_reuse_address(true)?;
    match socket.bind(&client.into()) {
        Ok(()) => Ok(socket),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRINUSE | libc::EACCES)) => {
            origin_socket_as_host(client.ip(), origin)
        }
        Err(error) => Err(error),
    }
}

/// As [`origin_socket_as`], from any port.
pub(crate) fn origin_socket_as_host(client: IpAddr, origin: SocketAddr) -> io::Result<Socket> {
    let socket = origin_socket(origin)?;
    set_transparent(&socket, origin.is_ipv6())?;
    // Which ports are free depends on where the connection goes: the kernel chooses when that is known.
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(client, 0).into())?;
    Ok(socket)
}

/// `IP_TRANSPARENT`: may be bound to an address that is not of this host. Needs `CAP_NET_ADMIN`.
fn set_transparent(socket: &Socket, ipv6: bool) -> io::Result<()> {
    if !ipv6 {
        return socket.set_ip_transparent_v4(true);
    }
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the descriptor is open as long as the socket is borrowed, and `on` is an int of this length.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_IPV6, libc::IPV6_TRANSPARENT, (&raw const on).cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets no peer be silent forever. Five system calls, which a connection of a few milliseconds does without.
pub(crate) fn guard(socket: &SockRef<'_>, timeouts: &Timeouts) -> io::Result<()> {
    let Keepalive { idle, interval, count } = timeouts.keepalive;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count))?;
    socket.set_tcp_user_timeout(Some(timeouts.user))
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
            guard(&SockRef::from(&socket), &Timeouts::default()).unwrap();
            is_guarded(&SockRef::from(&socket));
        }
    }

    fn is_guarded(socket: &SockRef<'_>) {
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        let Timeouts { keepalive, user, .. } = Timeouts::default();
        assert_eq!(socket.tcp_keepalive_time().unwrap(), keepalive.idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), keepalive.interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), keepalive.count);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(user));
    }
}
