//! What the bytes of one side are wrapped in, whoever wraps them. With one kind alone, as most builds have it, this costs
//! nothing.
//!
//! Deliberately not here: sockets and buffers (`relay`).

use std::io::{self, Read as _, Write};

use rustls::{ClientConnection, Connection, ServerConnection};

#[cfg(feature = "legacy-tls")]
use crate::tls::legacy;

/// A session after its handshake.
#[derive(Debug)]
#[cfg_attr(feature = "legacy-tls", expect(clippy::large_enum_variant, reason = "it is moved once, into its relay"))]
pub(in crate::proxy) enum Session {
    Rustls(Connection),
    #[cfg(feature = "legacy-tls")]
    OpenSsl(legacy::Session),
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Input {
    Bytes(usize),
    /// The peer has said everything. `told`: in TLS, and not only by closing the connection, which anybody can do.
    End {
        told: bool,
    },
}

impl From<ServerConnection> for Session {
    fn from(session: ServerConnection) -> Self {
        Self::Rustls(session.into())
    }
}

impl From<ClientConnection> for Session {
    fn from(session: ClientConnection) -> Self {
        Self::Rustls(session.into())
    }
}

impl Session {
    /// Takes as much as it is given.
    pub(in crate::proxy) fn lift_limits(&mut self) {
        match self {
            Self::Rustls(session) => session.set_buffer_limit(None),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(_) => {}
        }
    }

    /// An end is something to read, too.
    pub(in crate::proxy) fn holds_plaintext(&mut self) -> bool {
        match self {
            Self::Rustls(session) => {
                let chunk = session.reader().into_first_chunk();
                !matches!(chunk, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(session) => session.is_readable(),
        }
    }

    /// What is in clear already. None: nothing is.
    #[cfg_attr(not(feature = "legacy-tls"), expect(clippy::unnecessary_wraps, reason = "OpenSSL deciphers only here"))]
    pub(in crate::proxy) fn take(&mut self, room: &mut [u8]) -> Result<Option<Input>, rustls::Error> {
        if room.is_empty() {
            return Ok(None);
        }
        match self {
            Self::Rustls(session) => Ok(match session.reader().read(room) {
                Ok(0) => Some(Input::End { told: true }),
                Ok(bytes) => Some(Input::Bytes(bytes)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(Input::End { told: false }),
                Err(_) => None,
            }),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(session) => session.take(room).map(|taken| match taken {
                legacy::Taken::Bytes(bytes) => Some(Input::Bytes(bytes)),
                legacy::Taken::End { told } => Some(Input::End { told }),
                legacy::Taken::Nothing => None,
            }),
        }
    }

    /// Takes bytes off the wire apart, and says how many. What is in clear then must be taken before the next piece.
    pub(in crate::proxy) fn feed(&mut self, mut bytes: &[u8]) -> (io::Result<usize>, Result<(), rustls::Error>) {
        match self {
            Self::Rustls(session) => {
                let taken = session.read_tls(&mut bytes);
                (taken, session.process_new_packets().map(drop))
            }
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(session) => (Ok(session.feed(bytes)), Ok(())),
        }
    }

    /// Nothing more comes off the wire.
    pub(in crate::proxy) fn feed_end(&mut self) -> io::Result<()> {
        match self {
            Self::Rustls(session) => session.read_tls(&mut io::empty()).map(drop),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(session) => {
                session.feed_end();
                Ok(())
            }
        }
    }

    /// Wraps bytes.
    pub(in crate::proxy) fn wrap(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Rustls(session) => session.writer().write(bytes),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(session) => session.write(bytes),
        }
    }

    pub(in crate::proxy) fn wants_write(&self) -> bool {
        match self {
            Self::Rustls(session) => session.wants_write(),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(session) => session.wants_write(),
        }
    }

    /// Hands what is wrapped to the socket, in one call.
    pub(in crate::proxy) fn write_to(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        match self {
            Self::Rustls(session) => session.write_tls(socket),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(session) => session.write_to(socket),
        }
    }

    pub(in crate::proxy) fn send_close_notify(&mut self) {
        match self {
            Self::Rustls(session) => session.send_close_notify(),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(session) => session.close(),
        }
    }
}
