//! Client sockets.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::MESSAGE;

/// A client that hears nothing for this long gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A blocking connection with deadlines.
pub(crate) fn blocking(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Starts a connection from `source` and does not wait for it.
pub(crate) fn begin(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // The port is chosen at connect(), so that it only has to be free for this destination (ip(7), since Linux 4.2).
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Sends one message and reads it back.
pub(crate) fn ask(stream: &mut (impl io::Read + io::Write + ?Sized), message: &[u8; MESSAGE]) -> io::Result<()> {
    stream.write_all(message)?;
    let mut answer = [0; MESSAGE];
    stream.read_exact(&mut answer)?;
    if answer == *message { Ok(()) } else { Err(io::Error::other("the answer is not what was sent")) }
}
