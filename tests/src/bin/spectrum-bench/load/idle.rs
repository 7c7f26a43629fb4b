//! Connections that are open and do nothing.

use anyhow::{Context as _, Result};

use super::{Duplex, MESSAGE, connect};

/// Has `count` connections opened, each proven to reach the origin by one message and its answer. Must run inside the
/// client's namespace; they stay open as long as the answer lives.
pub(crate) fn open(count: usize, open: impl Fn() -> Result<Box<dyn Duplex>>) -> Result<Vec<Box<dyn Duplex>>> {
    (0..count)
        .map(|number| {
            let mut stream = open().with_context(|| format!("open idle connection {number}"))?;
            connect::ask(stream.as_mut(), &[b'i'; MESSAGE])
                .with_context(|| format!("ask on idle connection {number}"))?;
            Ok(stream)
        })
        .collect()
}
