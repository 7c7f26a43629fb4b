//! Connections that are open and do nothing.

use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result};

use super::{MESSAGE, connect};

/// Opens `count` connections, each proven to reach the origin by one message and its answer. Must run inside the
/// client's namespace; they stay open as long as the answer lives.
pub(crate) fn open(to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    (0..count)
        .map(|number| {
            let mut stream = connect::blocking(to).with_context(|| format!("open idle connection {number}"))?;
            connect::ask(&mut stream, &[b'i'; MESSAGE]).with_context(|| format!("ask on idle connection {number}"))?;
            Ok(stream)
        })
        .collect()
}
