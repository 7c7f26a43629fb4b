//! Tells the origin who the client is, before the first byte (invariant I11).

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    io,
    os::fd::AsRawFd as _,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use nix::sys::socket::{MsgFlags, send};
use tokio::net::TcpStream;

use super::{
    App, ClientAddr, EdgeAddr,
    header::{Addresses, Header, Meaning, Tlv, tlv, v1, v2},
};
use crate::{
    model::{ProxyProtocol, Tlvs},
    tls::ClientHandshake,
};

/// A name of one connection that no other connection of any node has: what logs of both sides are joined by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UniqueId {
    process: u64,
    connection: u64,
}

impl UniqueId {
    fn next() -> Self {
        /// Keyed by the system's randomness (`RandomState`).
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("spectrum"));
        static CONNECTION: AtomicU64 = AtomicU64::new(0);
        Self { process: *PROCESS, connection: CONNECTION.fetch_add(1, Relaxed) }
    }
}

/// In digits, on the wire too: an origin's log shows what ours shows.
impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.process, self.connection)
    }
}

/// Sends the header that the application wants, whole and at once. Says what the connection is called in it, if anything.
pub(super) fn announce(
    app: &App,
    client: ClientAddr,
    edge: EdgeAddr,
    tls: Option<&ClientHandshake>,
    origin: &TcpStream,
) -> io::Result<Option<UniqueId>> {
    let addresses = Addresses::between(client, edge);
    let (bytes, unique_id) = match app.config.proxy_protocol {
        ProxyProtocol::Off => return Ok(None),
        ProxyProtocol::V1 => (v1::encode(&addresses), None),
        ProxyProtocol::V2(tlvs) => {
            let unique_id = tlvs.unique_id.then(UniqueId::next);
            let fields = fields(tlvs, unique_id, tls, &app.config.hostname);
            let header = Header { meaning: Meaning::Stream(addresses), tlvs: fields };
            (v2::encode(&header, tlvs.crc32c).map_err(io::Error::other)?, unique_id)
        }
    };
    send_whole(origin, &bytes)?;
    Ok(unique_id)
}

/// What a health check says before anything else: that it is no client's connection.
pub(super) fn of_check(header: ProxyProtocol) -> Vec<u8> {
    match header {
        ProxyProtocol::Off => Vec::new(),
        ProxyProtocol::V1 => v1::UNKNOWN.to_vec(),
        ProxyProtocol::V2(tlvs) => {
            let local = Header { meaning: Meaning::Local, tlvs: Vec::new() };
            // Without fields it is never too long.
            v2::encode(&local, tlvs.crc32c).unwrap_or_default()
        }
    }
}

fn fields(tlvs: Tlvs, unique_id: Option<UniqueId>, tls: Option<&ClientHandshake>, hostname: &str) -> Vec<Tlv> {
    let name = tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or(hostname);
    let authority = tlvs.authority.then(|| Tlv::Authority(name.to_owned()));
    let ssl = tls.filter(|tls| tlvs.ssl && tls.status == "OK").map(|tls| Tlv::Ssl(ssl(tls)));
    let unique_id = unique_id.and_then(|id| tlv::UniqueId::new(id.to_string())).map(Tlv::UniqueId);
    authority.into_iter().chain(unique_id).chain(ssl).collect()
}

/// What is known of the client's TLS (proxy-protocol.txt, section 2.2.5).
fn ssl(tls: &ClientHandshake) -> tlv::Ssl {
    let (shown, verify) = match &tls.identity {
        Some(_) if tls.resumed => (CERTIFICATE_IN_SESSION, 0),
        Some(_) => (CERTIFICATE_IN_SESSION | CERTIFICATE_IN_CONNECTION, 0),
        None => (0, 1),
    };
    let field = |kind, value: &str| tlv::Field { kind, value: value.as_bytes().to_vec() };
    let mut fields = vec![field(VERSION, tls.version), field(CIPHER, tls.openssl_cipher)];
    // Longer ones would leave no room for anything else, and nobody is called so.
    let name = tls.identity.as_ref().and_then(|identity| identity.common_name.as_deref());
    fields.extend(name.filter(|name| name.len() <= LONGEST_NAME).map(|name| field(COMMON_NAME, name)));
    tlv::Ssl { client: OVER_TLS | shown, verify, fields }
}

const OVER_TLS: u8 = 1;
const CERTIFICATE_IN_CONNECTION: u8 = 2;
const CERTIFICATE_IN_SESSION: u8 = 4;
const VERSION: u8 = 0x21;
const COMMON_NAME: u8 = 0x22;
const CIPHER: u8 = 0x23;
const LONGEST_NAME: usize = 256;

/// Sends a few bytes as the first ones of a connection, in one call and so in one segment, as receivers may expect of a
/// header (proxy-protocol.txt, section 2). An empty send buffer has room for them; where it has not, this fails.
pub(crate) fn send_whole(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    loop {
        return match send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(nix::Error::EINTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_connections_have_the_same_id() {
        let ids: HashSet<String> = (0..1000).map(|_| UniqueId::next().to_string()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit())));
    }

    #[tokio::test]
    async fn what_does_not_go_out_whole_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let more_than_any_buffer = vec![0; 64 << 20];
        assert_eq!(send_whole(&stream, &more_than_any_buffer).unwrap_err().kind(), io::ErrorKind::WriteZero);
        peer.set_zero_linger().unwrap();
        drop(peer);
        stream.ready(tokio::io::Interest::ERROR).await.unwrap();
        assert_eq!(send_whole(&stream, b"header").unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
