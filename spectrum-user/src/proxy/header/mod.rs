//! The PROXY protocol's headers, from values to bytes and back: all that is known here of its bytes.
//!
//! The specification is HAProxy's, <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>; sections in comments are
//! its sections. Deliberately not here: I/O, deadlines, and whose headers are believed.

mod addresses;
#[cfg(test)]
mod tests;
pub mod tlv;
pub mod v1;
pub mod v2;

pub use addresses::Addresses;
pub use tlv::Tlv;

/// What the receiver of a connection is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub meaning: Meaning,
    /// Behind the addresses of a v2 header, in their order. The checksum is not among them.
    pub tlvs: Vec<Tlv>,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The sender's own, a health check for instance (LOCAL).
    Local,
    /// Somebody's of whom nothing is said that fits here (UNKNOWN, UNSPEC, UNIX sockets).
    Unknown,
    /// A client's, over TCP.
    Stream(Addresses),
    /// A client's, over UDP.
    Datagram(Addresses),
}

/// What the first bytes of a connection came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// They may become a header; it takes at least so many bytes more.
    Incomplete { missing: usize },
    /// A header, in this many of the bytes; what follows them is the connection's.
    Complete { header: Header, length: usize },
}

/// Why bytes are no header: the connection cannot be believed, and must be dropped (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Invalid {
    #[error("it does not begin with a PROXY header")]
    NoHeader,
    #[error("the line does not end within 107 bytes")]
    LineTooLong,
    #[error("the line holds a CR or LF that does not end it")]
    LoneLineBreak,
    #[error("the line names a protocol that is none of TCP4, TCP6 and UNKNOWN")]
    Protocol,
    #[error("the line does not have two addresses and two ports, with one space before each")]
    Fields,
    #[error("an address of the line is none of its protocol")]
    Address,
    #[error("a port of the line is no number from 0 to 65535 without leading zeros")]
    Port,
    #[error("the version is not 2")]
    Version,
    #[error("the command is neither LOCAL nor PROXY")]
    Command,
    #[error("the address family or transport is none of version 2")]
    Family,
    #[error("it is too short for the addresses that it announces")]
    CutAddresses,
    #[error("a field behind the addresses goes on past the end of the header")]
    CutField,
    #[error("a field behind the addresses does not hold what its type says")]
    Field,
    #[error("the checksum is wrong")]
    Checksum,
}

/// Reads a header of either version.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Invalid> {
    match bytes.first() {
        None => Ok(Decoded::Incomplete { missing: v1::SHORTEST }),
        Some(first) if v1::PREFIX.first() == Some(first) => v1::decode(bytes),
        Some(_) => v2::decode(bytes),
    }
}

/// Refuses bytes that can no longer become `expected`.
fn begins(bytes: &[u8], expected: &[u8]) -> Result<(), Invalid> {
    if bytes.iter().zip(expected).all(|(have, want)| have == want) { Ok(()) } else { Err(Invalid::NoHeader) }
}
