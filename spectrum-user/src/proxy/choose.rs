//! Which of the applications that share an address a client means: its ClientHello says so, and stays where it is.
//!
//! Nothing is read: whoever serves the connection finds every byte in the socket as the client sent it (`MSG_PEEK`), so that
//! bytes that pass through stay the kernel's to move. How much is looked at, and for how long, has a bound.

use std::{io, os::fd::AsRawFd as _, pin::pin, rc::Rc, sync::Arc};

use tokio::{
    io::Interest,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use super::{
    App, ClientAddr,
    connection::Connection,
    outcome::Failure,
    owner::Sharers,
    patience::unless_ended,
    tls::{self, ClientTlsError},
    worker::Worker,
};
use crate::tls::{
    ClientHandshake, Look, Refused,
    hello::{self, Version, Why},
};

/// The application that this client chooses. The name it asked for is in `facts`, also where this fails.
pub(super) async fn choose(
    worker: &Worker,
    connection: &Rc<Connection>,
    client: &TcpStream,
    address: ClientAddr,
    sharers: &Sharers,
    facts: &mut ClientHandshake,
) -> Result<Arc<App>, Failure> {
    let limits = worker.table().tls().handshakes;
    let under_way = worker.handshakes.enter(limits, address.ip(), connection)?;
    let patience = sharers.patience();
    let looked = unless_ended(connection, pin!(timeout(patience, peek(client)))).await?;
    drop(under_way);
    let chosen = match looked {
        Ok(Ok(Look::Hello(hello))) => {
            facts.server_name = hello.server_name;
            let app = match &facts.server_name {
                Some(name) => sharers.named(name),
                None => sharers.fallback().filter(|_| !hello.invalid_server_name),
            };
            app.ok_or(ClientTlsError::Refused(Refused::WrongName))
        }
        Ok(Ok(Look::NotTls(Why::TooLong))) => Err(ClientTlsError::TooLong),
        // Another protocol in which the client speaks first.
        Ok(Ok(Look::NotTls(why))) => sharers.fallback().ok_or_else(|| no_tls(client, why)),
        Ok(Ok(Look::More)) => Err(ClientTlsError::Broken(io::ErrorKind::UnexpectedEof.into())),
        Ok(Err(error)) => Err(ClientTlsError::Broken(error)),
        Err(Elapsed { .. }) => Err(ClientTlsError::Late(patience)),
    };
    let error = match chosen {
        Ok(app) => return Ok(Arc::clone(app)),
        Err(error) => error,
    };
    facts.status = error.as_str();
    tls::tell(client, &error, None);
    let failure = Failure::Handshake(error);
    if !failure.resets_client() {
        tls::farewell(client).await;
    }
    Err(failure)
}

/// Refuses what nobody here serves, in the words of RFC 8446, section 6.2.
fn no_tls(client: &TcpStream, why: Why) -> ClientTlsError {
    log::debug!("no ClientHello: {why}");
    let alert = tls::refusal(&Look::NotTls(why), Version::TLS1_2).unwrap_or(tls::DECODE_ERROR);
    tls::alert(client, alert);
    ClientTlsError::Failed(rustls::InvalidMessage::InvalidContentType.into())
}

/// Looks at what is there until it is clear what it is. [`Look::More`]: the client has said all it will say.
async fn peek(client: &TcpStream) -> io::Result<Look> {
    let mut bytes = vec![0; FIRST];
    loop {
        // An end comes after all bytes: what is there now is all there is, once it is known.
        let ended = client.ready(Interest::READABLE).await?.is_read_closed();
        let looked = client.try_io(Interest::READABLE, || {
            let there = peek_into(client, &mut bytes)?;
            let seen = bytes.get(..there).unwrap_or_default();
            match hello::look(seen) {
                Look::More if there == bytes.len() => Ok(None),
                // To wait for more than is there: the next segment makes the socket ready again, though nothing was read
                // (epoll(7), edge-triggered).
                Look::More if !ended => Err(io::ErrorKind::WouldBlock.into()),
                look => Ok(Some(look)),
            }
        });
        match looked {
            Ok(Some(look)) => return Ok(look),
            Ok(None) => bytes.resize(2 * bytes.len(), 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// A ClientHello with a post-quantum key share has about 1800 bytes. `hello::LONGEST` is a power of two times this.
const FIRST: usize = 2 << 10;

fn peek_into(client: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    nix::sys::socket::recv(client.as_raw_fd(), bytes, nix::sys::socket::MsgFlags::MSG_PEEK).map_err(Into::into)
}
