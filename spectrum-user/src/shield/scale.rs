//! The window scale that this kernel offers: what an answer made elsewhere must offer in its place.
//!
//! The kernel computes it anew when a cookie is acknowledged (`tcp_select_initial_window`, from `tcp_rmem` and
//! `rmem_max`), and never tells the client. Were it another one than the answer said, both sides would read each other's
//! windows wrong. So it is not computed here but asked for: a connection to this host itself shows it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use socket2::SockRef;

/// For a connection within this host.
const PATIENCE: Duration = Duration::from_millis(200);

/// The window scale, where this kernel does window scaling, SACK and timestamps. None: it does not, or nobody asked can
/// say.
pub fn offered() -> Option<u8> {
    ask().inspect_err(|error| log::debug!("no connection within this host: {error}")).ok().flatten()
}

fn ask() -> io::Result<Option<u8>> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listener.set_nonblocking(true)?;
    let client = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    // Connected means that the listener has it; a stranger of this host may have come first, and is as good.
    let (accepted, _) = listener.accept()?;
    let info = tcp_info(&accepted)?;
    // Nothing was said: a reset leaves no trace of either.
    for socket in [SockRef::from(&client), SockRef::from(&accepted)] {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    let all = TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE;
    Ok((info.options & all == all).then_some(info.receive_scale))
}

// include/uapi/linux/tcp.h
const TCPI_OPT_TIMESTAMPS: u8 = 1;
const TCPI_OPT_SACK: u8 = 2;
const TCPI_OPT_WSCALE: u8 = 4;

struct Negotiated {
    options: u8,
    receive_scale: u8,
}

/// The first bytes of `struct tcp_info`: five of no interest, the options, and two scales in one byte.
fn tcp_info(socket: &TcpStream) -> io::Result<Negotiated> {
    let mut info = [0_u8; 8];
    let mut length = libc::socklen_t::try_from(info.len()).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes to `info`, and how many to `length`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let [_, _, _, _, _, options, scales, _] = info;
    // Two bit fields: the sender's scale in the lower half, the receiver's in the upper one.
    Ok(Negotiated { options, receive_scale: scales >> 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_within_this_host_shows_it() {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        let on = |name: &str| read(name).trim() != "0";
        let scale = offered();
        assert_eq!(scale.is_some(), on("tcp_timestamps") && on("tcp_sack") && on("tcp_window_scaling"));
        assert!(scale.is_none_or(|scale| scale <= 14), "{scale:?}");
    }
}
