//! What a client says first: its ClientHello, read from the first bytes of a stream (RFC 8446, section 4.1.2). For choosing
//! an origin by name where TLS goes through, for finding clients of TLS 1.0 and 1.1 alone, and for the order of suites.
//!
//! It is a pure function of all that was read so far: it takes nothing away, changes nothing and remembers nothing. What
//! protocol speaks is known from its first bytes on, so that nobody waits for a ClientHello that cannot come.
//!
//! Deliberately not here: reading from sockets and the deadline for that, what follows from the answer, and TLS itself. Of
//! an encrypted ClientHello (RFC 9849) only the outer one can be read, with the name that it shows to everybody. GREASE
//! (RFC 8701) means nothing, and is left out everywhere.

mod body;
mod name;
mod records;
#[cfg(test)]
mod tests;

use std::fmt;

use self::records::Records;

/// Within so many bytes of the stream, heads of records included, a ClientHello must have ended. With a post-quantum key
/// share it has about 1800 bytes, and a ticket may add as much as its server put into it.
pub const LONGEST: usize = 16 << 10;

/// What the bytes that are there so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The beginning of a ClientHello: more bytes are needed.
    More,
    /// What the client says. Bytes behind it are not looked at.
    Hello(ClientHello),
    /// They are no ClientHello, and no more bytes make them one.
    NotTls(Why),
}

/// What a client says of itself and of what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name that the client asks for, in lower case (RFC 6066, section 3). A `host_name` has no dot at its end, is no
    /// address, and has no more than 253 bytes.
    pub server_name: Option<String>,
    /// It asks for a name that cannot be one, or for two at once. `server_name` is none then.
    pub invalid_server_name: bool,
    /// The highest of `versions`.
    pub highest_version: Version,
    /// What it offers, in its order. Where it does not list them (before TLS 1.3), the highest alone: it means "up to".
    pub versions: Vec<Version>,
    /// The protocols above TLS that it offers, in its order (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// In its order.
    pub cipher_suites: Vec<u16>,
    /// AES-GCM comes before ChaCha20-Poly1305 among its suites: it has fast AES.
    pub prefers_aes: bool,
    /// It offers TLS 1.3, and not all that belongs to such an offer (RFC 8446, section 9.2).
    pub lacks_extensions: bool,
}

/// A version as TLS writes it. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

impl Version {
    pub const SSL3: Self = Self(0x0300);
    pub const TLS1_0: Self = Self(0x0301);
    pub const TLS1_1: Self = Self(0x0302);
    pub const TLS1_2: Self = Self(0x0303);
    pub const TLS1_3: Self = Self(0x0304);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SSL3 => f.write_str("SSL 3.0"),
            Self(version @ 0x0301..=0x0304) => write!(f, "TLS 1.{}", version - Self::TLS1_0.0),
            Self(version) => write!(f, "version {version:#06x}"),
        }
    }
}

/// Why bytes are not a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Another protocol, SSL 2.0, or a record of TLS that cannot be the first.
    #[error("it begins with the byte {0:#04x}, a handshake of TLS with 0x16")]
    Kind(u8),
    #[error("a record has the major version {0}, TLS has 3")]
    RecordVersion(u8),
    #[error("a record of a handshake is empty")]
    EmptyRecord,
    #[error("a record is longer than 16384 bytes")]
    LongRecord,
    #[error("a record of the kind {0} is in the middle of the ClientHello")]
    Interrupted(u8),
    #[error("the first message of the handshake is of the type {0}, a ClientHello of 1")]
    Message(u8),
    #[error("the ClientHello is longer than {LONGEST} bytes with its records")]
    TooLong,
    /// Names the part.
    #[error("its {0} cannot be read")]
    Malformed(&'static str),
}

/// Looks at all that came so far of a stream.
pub fn look(bytes: &[u8]) -> Look {
    let seen = bytes.get(..LONGEST).unwrap_or(bytes);
    match message(seen) {
        Ok(Some(message)) => body::read(&message).map_or_else(Look::NotTls, Look::Hello),
        Ok(None) if seen.len() < LONGEST => Look::More,
        Ok(None) => Look::NotTls(Why::TooLong),
        Err(why) => Look::NotTls(why),
    }
}

/// The ClientHello without the head of its message, out of its records. None: it is not all there yet.
fn message(seen: &[u8]) -> Result<Option<Vec<u8>>, Why> {
    let mut head = Vec::with_capacity(HEAD);
    let mut there = 0;
    // Nothing is copied but for the whole: who sends byte by byte makes us walk over the records again, and no more.
    for fragment in Records::new(seen) {
        let fragment = fragment?;
        head.extend(fragment.iter().take(HEAD - head.len()));
        there += fragment.len();
        match *head {
            [CLIENT_HELLO, high, middle, low] => {
                let length = HEAD + usize::from(high) * 0x1_0000 + usize::from(u16::from_be_bytes([middle, low]));
                if records::HEAD + length > LONGEST {
                    return Err(Why::TooLong);
                }
                if there >= length {
                    return Ok(Some(joined(seen, length)));
                }
            }
            [] | [CLIENT_HELLO, ..] => {}
            [other, ..] => return Err(Why::Message(other)),
        }
    }
    Ok(None)
}

fn joined(seen: &[u8], length: usize) -> Vec<u8> {
    Records::new(seen).map_while(Result::ok).flatten().copied().take(length).skip(HEAD).collect()
}

/// Type and length.
const HEAD: usize = 4;
const CLIENT_HELLO: u8 = 1;
