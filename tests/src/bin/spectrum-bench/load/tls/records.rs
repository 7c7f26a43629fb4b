//! The sizes of the records that a client gets.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::Result;

use super::{Key, blocking};

/// Bytes in clear of each record that carries any, until `bytes` have come. Must run inside the client's namespace.
pub(crate) fn receive(from: SocketAddr, key: Key, bytes: usize) -> Result<Vec<usize>> {
    const HEAD: usize = 5;
    let mut stream = blocking(from, key)?;
    stream.flush()?;
    let mut sizes = Vec::new();
    let mut clear = vec![0; 1 << 15];
    let mut received = 0;
    while received < bytes {
        let mut record = vec![0; HEAD];
        stream.sock.read_exact(&mut record)?;
        let length = match record.as_slice() {
            [_, _, _, high, low] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        };
        record.resize(HEAD + length, 0);
        stream.sock.read_exact(record.get_mut(HEAD..).unwrap_or_default())?;
        let mut rest = record.as_slice();
        let mut size = 0;
        while !rest.is_empty() {
            stream.conn.read_tls(&mut rest)?;
            if stream.conn.process_new_packets()?.plaintext_bytes_to_read() > 0 {
                size += stream.conn.reader().read(&mut clear)?;
            }
        }
        // Tickets are records, too.
        if size > 0 {
            sizes.push(size);
        }
        received += size;
    }
    Ok(sizes)
}
