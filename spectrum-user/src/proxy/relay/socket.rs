//! Reading and writing a socket in the fewest system calls that an edge-triggered epoll allows.
//!
//! With such an epoll a read that comes back short has emptied the socket: the kernel tells when there is more. tokio
//! forgets readiness only when it sees `WouldBlock`, so that is what it is shown then, without asking the kernel for
//! the EAGAIN that we know it would answer. The same holds for short writes and a full socket.

use std::{
    io,
    os::fd::AsRawFd as _,
    task::{Context, Poll, ready},
};

use nix::sys::socket::{MsgFlags, recv, send};
use tokio::{io::Interest, net::TcpStream};

/// Reads what is there; 0 is the end.
pub(super) fn poll_read(stream: &TcpStream, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        let full = room.len();
        match attempt(stream, Interest::READABLE, full, || Ok(recv(stream.as_raw_fd(), room, MsgFlags::empty())?)) {
            Err(error) if is_transient(&error) => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Reads what is there, whether or not anybody has said that there is something.
pub(super) fn read_now(stream: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(stream.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
            Err(nix::errno::Errno::EINTR) => {}
            done => return Ok(done?),
        }
    }
}

/// Whether the next byte is one that was sent as urgent (`SIOCATMARK`, `man 7 tcp`).
pub(super) fn is_at_mark(stream: &TcpStream) -> bool {
    const SIOCATMARK: libc::Ioctl = 0x8905;
    let mut at: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as the stream is borrowed, and the kernel writes one int.
    let failed = unsafe { libc::ioctl(stream.as_raw_fd(), SIOCATMARK, &raw mut at) };
    failed == 0 && at != 0
}

/// Writes as much as the socket takes.
pub(super) fn poll_write(stream: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    poll_into(stream, cx, bytes.len(), || Ok(send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?))
}

/// As [`poll_write`], with another system call: `full` is what it moves unless the socket is full.
pub(super) fn poll_into(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    full: usize,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match attempt(stream, Interest::WRITABLE, full, &mut call) {
            Err(error) if is_transient(&error) => {}
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            done => return Poll::Ready(done),
        }
    }
}

/// Calls once; tokio forgets the readiness if the answer shows that it is used up.
pub(super) fn attempt(
    stream: &TcpStream,
    interest: Interest,
    full: usize,
    call: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut moved = None;
    let outcome = stream.try_io(interest, || {
        let bytes = call()?;
        moved = Some(bytes);
        // 0 is an end, not an empty socket.
        if 0 < bytes && bytes < full { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(bytes) }
    });
    moved.map_or(outcome, Ok)
}

/// Try again: tokio has forgotten the readiness by then where that is the reason.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
