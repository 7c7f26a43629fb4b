//! The window scale that this kernel offers: what an answer made elsewhere must offer in its place.
//!
//! The kernel computes it anew when a cookie is acknowledged (`tcp_select_initial_window`, from `tcp_rmem` and
//! `rmem_max`), and never tells the client. Were it another one than the answer said, both sides would read each other's
//! windows wrong. So it is not computed here but asked for: a connection to this host itself shows it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    time::Duration,
};

use socket2::SockRef;

use crate::listen::TcpInfo;

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
    let info = TcpInfo::of(accepted.as_fd())?;
    // Nothing was said: a reset leaves no trace of either.
    for socket in [SockRef::from(&client), SockRef::from(&accepted)] {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    Ok(info.offered_scale())
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
