//! Version 1: a line of text (section 2.1).

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    str::{self, FromStr},
};

use super::{Addresses, Decoded, Header, Invalid, Meaning, begins};

pub(super) const PREFIX: &[u8] = b"PROXY ";
/// `PROXY UNKNOWN` and the end of the line.
pub(super) const SHORTEST: usize = 15;
/// The longest line, its end included.
pub const LONGEST: usize = 107;

/// The line that tells nothing.
pub const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

/// The line that tells a stream's ends.
pub fn encode(addresses: &Addresses) -> Vec<u8> {
    let line = match addresses {
        Addresses::V4 { client, edge } => {
            format!("PROXY TCP4 {} {} {} {}\r\n", client.ip(), edge.ip(), client.port(), edge.port())
        }
        Addresses::V6 { client, edge } => {
            format!("PROXY TCP6 {} {} {} {}\r\n", hex(*client.ip()), hex(*edge.ip()), client.port(), edge.port())
        }
    };
    line.into_bytes()
}

/// The protocol knows no dots in IPv6 addresses, with which std writes IPv4-mapped ones.
fn hex(address: Ipv6Addr) -> String {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
        (None, _) => address.to_string(),
    }
}

/// Reads a line.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Invalid> {
    begins(bytes, PREFIX)?;
    let Some(line) = line(bytes)? else {
        return Ok(Decoded::Incomplete { missing: SHORTEST.saturating_sub(bytes.len()).max(1) });
    };
    let text = str::from_utf8(line).map_err(|_| Invalid::Fields)?;
    let meaning = meaning(text.get(PREFIX.len()..).unwrap_or_default())?;
    Ok(Decoded::Complete { header: Header { meaning, tlvs: Vec::new() }, length: line.len() + 2 })
}

/// The bytes before the line's end, once that is there.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Invalid> {
    let within = bytes.get(..LONGEST).unwrap_or(bytes);
    let Some(end) = within.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if within.len() == LONGEST { Err(Invalid::LineTooLong) } else { Ok(None) };
    };
    match (within.get(end), within.get(end + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(within.get(..end)),
        (Some(b'\r'), None) if within.len() < LONGEST => Ok(None),
        (Some(b'\r'), None) => Err(Invalid::LineTooLong),
        _ => Err(Invalid::LoneLineBreak),
    }
}

/// What stands behind `PROXY`.
fn meaning(text: &str) -> Result<Meaning, Invalid> {
    let mut fields = text.split(' ');
    match fields.next() {
        // "The receiver must ignore anything presented before the CRLF."
        Some("UNKNOWN") => Ok(Meaning::Unknown),
        Some("TCP4") => {
            let [client, edge, client_port, edge_port] = four(fields)?;
            Ok(Meaning::Stream(Addresses::V4 {
                client: SocketAddrV4::new(address::<Ipv4Addr>(client)?, port(client_port)?),
                edge: SocketAddrV4::new(address::<Ipv4Addr>(edge)?, port(edge_port)?),
            }))
        }
        Some("TCP6") => {
            let [client, edge, client_port, edge_port] = four(fields)?;
            Ok(Meaning::Stream(Addresses::V6 {
                client: SocketAddrV6::new(address::<Ipv6Addr>(client)?, port(client_port)?, 0, 0),
                edge: SocketAddrV6::new(address::<Ipv6Addr>(edge)?, port(edge_port)?, 0, 0),
            }))
        }
        _ => Err(Invalid::Protocol),
    }
}

fn four<'t>(fields: impl Iterator<Item = &'t str>) -> Result<[&'t str; 4], Invalid> {
    let fields: Vec<_> = fields.take(5).collect();
    fields.try_into().map_err(|_| Invalid::Fields)
}

/// std refuses leading zeros in IPv4 addresses, as the protocol does. It takes dots in IPv6 addresses, which the protocol
/// does not know: they are let in, because senders that use `inet_ntop` write IPv4-mapped addresses so.
fn address<T: FromStr>(text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|_| Invalid::Address)
}

fn port(text: &str) -> Result<u16, Invalid> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().map_err(|_| Invalid::Port) } else { Err(Invalid::Port) }
}
