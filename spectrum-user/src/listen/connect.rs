//! Connecting to an origin: from which of our addresses and ports, and what it means where that fails.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    os::fd::AsRawFd as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::Socket;
use tokio::net::{TcpSocket, TcpStream};

use super::sockets::origin_socket;
use crate::model::{self, PortRange};

/// What connections to origins come from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    addresses: Vec<IpAddr>,
    ports: Option<PortRange>,
    /// Each address has its turn, so that none is used up while others are idle.
    turn: AtomicUsize,
    /// That one of them is gone has been said.
    told: AtomicBool,
}

/// Why an origin was not connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Before a packet was sent: descriptors, memory, permissions.
    #[error("cannot open a connection: {0}")]
    Local(#[source] io::Error),
    #[error("no source port is left for this origin")]
    NoPort,
    #[error("cannot connect: {0}")]
    Origin(#[source] io::Error),
}

/// `IP_LOCAL_PORT_RANGE` (include/uapi/linux/in.h, since 6.3): the lower bound in the lower half, the upper one above.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;

impl Sources {
    /// Without a range of ports where the kernel knows none: says so.
    pub fn new(settings: &model::Sources) -> Self {
        let ports = settings.ports.filter(|ports| {
            let known = origin_socket(SocketAddr::from(([0, 0, 0, 0], 0))).and_then(|socket| limit(&socket, *ports));
            if let Err(error) = &known {
                log::warn!(
                    "source_ports is not kept: this kernel has no IP_LOCAL_PORT_RANGE, which came with 6.3 ({error}); \
                     net.ipv4.ip_local_port_range holds for all"
                );
            }
            known.is_ok()
        });
        Self(Arc::new(Inner { addresses: settings.addresses.clone(), ports, ..Inner::default() }))
    }

    /// Those of the origin's family, the one whose turn it is first; none where the kernel chooses.
    fn of_family(&self, origin: SocketAddr) -> Vec<Option<IpAddr>> {
        let same = |address: &&IpAddr| address.is_ipv4() == origin.is_ipv4();
        let mut addresses: Vec<_> = self.0.addresses.iter().filter(same).copied().map(Some).collect();
        if addresses.is_empty() {
            return vec![None];
        }
        let turn = self.0.turn.fetch_add(1, Relaxed) % addresses.len();
        addresses.rotate_left(turn);
        addresses
    }

    fn missed(&self, from: Option<IpAddr>) {
        if let Some(from) = from
            && !self.0.told.swap(true, Relaxed)
        {
            log::warn!("{from} of node.source_addresses is no address of this host any more: others take its turns");
        }
    }

    fn socket(&self, origin: SocketAddr, from: Option<IpAddr>) -> io::Result<Socket> {
        let socket = origin_socket(origin)?;
        if let Some(ports) = self.0.ports {
            limit(&socket, ports)?;
        }
        if let Some(from) = from {
            // The port is chosen when it is known where to: one port serves as many connections as there are origins.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        Ok(socket)
    }
}

/// Connects to an origin. Where one of our addresses has no port left for it, the next one is taken.
pub(crate) async fn connect(origin: SocketAddr, sources: &Sources) -> Result<TcpStream, ConnectError> {
    let mut gone = None;
    let mut tried = false;
    for from in sources.of_family(origin) {
        let socket = match sources.socket(origin, from) {
            Ok(socket) => socket,
            // `inet_bind`: no address of this host any more.
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                sources.missed(from);
                gone = Some(error);
                continue;
            }
            Err(error) => return Err(ConnectError::Local(error)),
        };
        tried = true;
        match TcpSocket::from_std_stream(socket.into()).connect(origin).await {
            Ok(stream) if is_itself(&stream, origin) => {
                return Err(ConnectError::Origin(io::Error::from_raw_os_error(libc::ECONNREFUSED)));
            }
            Ok(stream) => return Ok(stream),
            // `inet_hash_connect` found none that is free for this address and port of the origin, or
            // `ipv6_dev_get_saddr` no address to come from.
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                if from.is_none() && !has_source(origin) {
                    return Err(ConnectError::Origin(io::Error::from_raw_os_error(libc::ENETUNREACH)));
                }
            }
            // ICMPv6 "administratively prohibited" and a route that rejects (`icmpv6_err_convert`): firewalls say so.
            Err(error) if origin.is_ipv6() && error.raw_os_error() == Some(libc::EACCES) => {
                return Err(ConnectError::Origin(error));
            }
            Err(error) if is_local(&error) => return Err(ConnectError::Local(error)),
            Err(error) => return Err(ConnectError::Origin(error)),
        }
    }
    match gone {
        Some(error) if !tried => Err(ConnectError::Local(error)),
        _ => Err(ConnectError::NoPort),
    }
}

/// Whether this host has an address that the origin can be reached from: a datagram's socket needs no port of its own.
fn has_source(origin: SocketAddr) -> bool {
    let any: SocketAddr = if origin.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    UdpSocket::bind(any).and_then(|socket| socket.connect(origin)).is_ok()
}

/// A dial to a local port of the ephemeral range where nobody listens can meet itself (simultaneous open): then it is
/// connected to nobody.
fn is_itself(stream: &TcpStream, origin: SocketAddr) -> bool {
    ephemeral_ports().contains(&origin.port()) && stream.local_addr().is_ok_and(|own| own == origin)
}

/// The ports that the kernel chooses for outgoing connections, as they were when first asked for.
fn ephemeral_ports() -> &'static RangeInclusive<u16> {
    static PORTS: OnceLock<RangeInclusive<u16>> = OnceLock::new();
    PORTS.get_or_init(|| {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut ports = range.split_whitespace().filter_map(|port| port.parse().ok());
        ports.next().unwrap_or(1)..=ports.next().unwrap_or(u16::MAX)
    })
}

/// An option of the level `SOL_IP`, which IPv6 sockets have, too (`ipv6_setsockopt`, `net/ipv6/ipv6_sockglue.c`).
fn limit(socket: &Socket, ports: PortRange) -> io::Result<()> {
    let range = u32::from(ports.last()) << 16 | u32::from(ports.first());
    let length = libc::socklen_t::try_from(size_of_val(&range)).unwrap_or_default();
    // SAFETY: the descriptor is open as long as the socket is borrowed, and the kernel reads the length of `range`.
    let failed = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, IP_LOCAL_PORT_RANGE, (&raw const range).cast(), length)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn is_local(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EADDRINUSE
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EACCES
                | libc::EPERM
                | libc::EAGAIN
                | libc::ENOSPC
        )
    )
}
