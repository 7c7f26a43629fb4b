//! One connection of OpenSSL between two heaps of bytes, so that it is driven as rustls is: bytes off the wire go in, bytes
//! for the wire come out, and no socket is known here.

use std::io::{self, Read, Write};

use openssl::{
    error::{Error as Reason, ErrorStack},
    ssl::{Error, ErrorCode, Ssl, SslCipherRef, SslStream},
};
use rustls::{Error as Fault, PeerIncompatible};

/// Bytes that OpenSSL may answer with on its own while it reads. A client that asks for new keys again and again gets a
/// refusal for each, and need not read them.
const MOST_OWN_WORDS: usize = 4 << 10;
/// What an idle connection may keep of its memory.
const KEPT: usize = 4 << 10;

/// The edge's side of one connection.
#[derive(Debug)]
pub struct Session {
    stream: SslStream<Memory>,
    /// There may be something to read, an end or a fault included.
    readable: bool,
    /// The client has said that nothing follows.
    closed: bool,
    /// Its side of the connection has ended.
    ended: bool,
    own_words: usize,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Bytes(usize),
    /// `told`: in TLS.
    End {
        told: bool,
    },
    Nothing,
}

impl Session {
    pub(in crate::tls) fn new(ssl: Ssl) -> Result<Self, ErrorStack> {
        let stream = SslStream::new(ssl, Memory::default())?;
        Ok(Self { stream, readable: false, closed: false, ended: false, own_words: 0 })
    }

    /// Goes on with the handshake. True: it is done.
    pub fn shake(&mut self) -> Result<bool, Fault> {
        match self.stream.accept() {
            Ok(()) => {
                // The first bytes may have come along with the last message.
                self.readable = true;
                Ok(true)
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(false),
            Err(error) => Err(fault(&error)),
        }
    }

    /// The product's words.
    pub fn version(&self) -> &'static str {
        self.stream.ssl().version_str()
    }

    pub fn cipher(&self) -> Option<&'static str> {
        self.stream.ssl().current_cipher().map(SslCipherRef::name)
    }

    /// Takes bytes off the wire. Only when there was nothing to read. How many: none behind an end.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        if self.closed {
            return 0;
        }
        self.stream.get_mut().incoming.put(bytes);
        self.readable = true;
        bytes.len()
    }

    /// Nothing more comes off the wire.
    pub const fn feed_end(&mut self) {
        self.ended = true;
        self.readable = true;
    }

    pub const fn is_readable(&self) -> bool {
        self.readable
    }

    /// What is in clear.
    pub fn take(&mut self, room: &mut [u8]) -> Result<Taken, Fault> {
        let mut taken = 0;
        while !self.closed
            && let Some(room) = room.get_mut(taken..).filter(|room| !room.is_empty())
        {
            let before = self.stream.get_ref().outgoing.len();
            let read = self.stream.ssl_read(room);
            self.own_words += self.stream.get_ref().outgoing.len().saturating_sub(before);
            if self.own_words > MOST_OWN_WORDS {
                return Err(Fault::General("the client asks for new keys without an end".to_owned()));
            }
            match read {
                Ok(bytes) => taken += bytes,
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => self.closed = true,
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    self.readable = self.ended;
                    break;
                }
                // What came before it is told first; OpenSSL says the same again when it is asked the next time.
                Err(_) if taken > 0 => break,
                Err(error) => return Err(fault(&error)),
            }
        }
        Ok(match taken {
            0 if self.closed => Taken::End { told: true },
            0 if self.ended && !room.is_empty() => Taken::End { told: false },
            0 => Taken::Nothing,
            bytes => Taken::Bytes(bytes),
        })
    }

    pub fn close(&mut self) {
        // It fails only where the session is broken, and then there is nothing to say.
        let _ = self.stream.shutdown();
    }

    pub fn wants_write(&self) -> bool {
        !self.stream.get_ref().outgoing.is_empty()
    }

    /// Hands bytes for the wire to `socket`, in one call.
    pub fn write_to(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        let outgoing = &mut self.stream.get_mut().outgoing;
        let written = socket.write(outgoing.rest())?;
        outgoing.gone(written);
        Ok(written)
    }
}

impl Write for Session {
    /// Into records.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.ssl_write(bytes).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The two heaps.
#[derive(Debug, Default)]
struct Memory {
    incoming: Heap,
    outgoing: Heap,
}

/// Bytes that are taken from the front.
#[derive(Debug, Default)]
struct Heap {
    bytes: Vec<u8>,
    start: usize,
}

impl Heap {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    const fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn gone(&mut self, bytes: usize) {
        self.start += bytes;
        if self.is_empty() {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
        }
    }
}

impl Read for Memory {
    /// Never says that there is an end: OpenSSL would break the session, and the other half of it may go on.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = self.incoming.rest().read(room)?;
        self.incoming.gone(bytes);
        Ok(bytes)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// In rustls' words, which the event log knows.
fn fault(error: &Error) -> Fault {
    let first = error.ssl_error().and_then(|stack| stack.errors().first());
    match first.and_then(Reason::reason) {
        Some("no shared cipher") => PeerIncompatible::NoCipherSuitesInCommon.into(),
        Some("unsupported protocol" | "version too low") => PeerIncompatible::Tls12NotOffered.into(),
        Some("decryption failed or bad record mac" | "bad record mac") => Fault::DecryptError,
        Some(reason) => Fault::General(reason.to_owned()),
        None => Fault::General(error.to_string()),
    }
}
