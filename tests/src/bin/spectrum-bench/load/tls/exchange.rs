//! A new connection in TLS with one small message each way, without ever waiting: shake hands, ask, read the answer,
//! say farewell.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::{Key, Version, config};
use crate::load::exchange::{Advance, Step};
use crate::load::{MESSAGE, connect};

/// What the connections of one slot have in common: a client of its own, so that nobody else takes its tickets.
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Handshakes that were not begun anew.
    resumed: Arc<AtomicUsize>,
}

impl Client {
    /// With `resumes`, every connection after the first goes on with the session of one before.
    pub(crate) fn new(version: Version, key: Key, resumes: bool, resumed: &Arc<AtomicUsize>) -> Result<Self> {
        let config = Arc::new(config(version, resumes)?);
        Ok(Self { config, name: key.server_name()?, resumed: Arc::clone(resumed) })
    }

    /// Begins to connect; `epoll` says under `key` when there is something to do.
    pub(crate) fn begin(&self, from: IpAddr, to: SocketAddr, epoll: &Epoll, key: u64) -> io::Result<SecureExchange> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)?;
        let stream = connect::begin(from, to)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&stream, EpollEvent::new(flags, key))?;
        let resumed = Arc::clone(&self.resumed);
        Ok(SecureExchange { stream, session, resumed, asked: false, answered: 0 })
    }
}

pub(crate) struct SecureExchange {
    stream: TcpStream,
    session: ClientConnection,
    resumed: Arc<AtomicUsize>,
    asked: bool,
    answered: usize,
}

impl Advance for SecureExchange {
    fn advance(&mut self) -> io::Result<Step> {
        loop {
            let asks = !self.asked && !self.session.is_handshaking();
            if asks {
                self.session.writer().write_all(&[b'?'; MESSAGE])?;
                self.asked = true;
            }
            self.flush()?;
            match self.session.read_tls(&mut self.stream) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(if asks { Step::Asked } else { Step::Nothing });
                }
                Err(error) => return Err(error),
            }
            let state = self.session.process_new_packets().map_err(io::Error::other)?;
            if state.plaintext_bytes_to_read() > 0 {
                self.answered += self.session.reader().read(&mut [0; MESSAGE])?;
            }
            if self.answered >= MESSAGE {
                if self.session.handshake_kind() == Some(HandshakeKind::Resumed) {
                    self.resumed.fetch_add(1, Ordering::Relaxed);
                }
                self.session.send_close_notify();
                self.flush()?;
                return Ok(Step::Answered);
            }
        }
    }
}

impl SecureExchange {
    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                // Not connected yet: there will be an event.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                wrote => wrote?,
            };
        }
        Ok(())
    }
}
