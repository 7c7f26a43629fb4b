//! Version 2: binary, in network byte order (section 2.2).

use std::net::{SocketAddrV4, SocketAddrV6};

use super::{Addresses, Decoded, Header, Invalid, Meaning, begins, tlv};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
pub const FIXED: usize = 16;

const VERSION: u8 = 0x20;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const UNSPEC: u8 = 0;
const INET: u8 = 0x10;
const INET6: u8 = 0x20;
const UNIX: u8 = 0x30;
const STREAM: u8 = 1;
const DGRAM: u8 = 2;
/// Two paths of 108 bytes.
const UNIX_ADDRESSES: usize = 216;

/// What the length field can say is not enough for these fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fields of a PROXY header are longer than 65535 bytes")]
pub struct TooLong;

/// The bytes of a header; `checksum`: with one at its end.
pub fn encode(header: &Header, checksum: bool) -> Result<Vec<u8>, TooLong> {
    let (command, family) = match header.meaning {
        Meaning::Local => (LOCAL, UNSPEC),
        Meaning::Unknown => (PROXY, UNSPEC),
        Meaning::Stream(addresses) => (PROXY, inet(&addresses) | STREAM),
        Meaning::Datagram(addresses) => (PROXY, inet(&addresses) | DGRAM),
    };
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(SIGNATURE);
    bytes.extend_from_slice(&[VERSION | command, family, 0, 0]);
    if let Meaning::Stream(addresses) | Meaning::Datagram(addresses) = &header.meaning {
        write_addresses(&mut bytes, addresses);
        // Behind UNSPEC and LOCAL nobody looks for them.
        header.tlvs.iter().try_for_each(|field| field.write(&mut bytes))?;
        if checksum {
            tlv::write(&mut bytes, tlv::CRC32C, &[0; 4])?;
        }
    }
    let length = u16::try_from(bytes.len() - FIXED).map_err(|_| TooLong)?;
    if let Some(place) = bytes.get_mut(FIXED - 2..FIXED) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    if checksum && family != UNSPEC {
        let sum = crc32c::crc32c(&bytes).to_be_bytes();
        if let Some(place) = bytes.last_chunk_mut() {
            *place = sum;
        }
    }
    Ok(bytes)
}

fn inet(addresses: &Addresses) -> u8 {
    match addresses {
        Addresses::V4 { .. } => INET,
        Addresses::V6 { .. } => INET6,
    }
}

fn write_addresses(bytes: &mut Vec<u8>, addresses: &Addresses) {
    let (client_port, edge_port) = match addresses {
        Addresses::V4 { client, edge } => {
            bytes.extend_from_slice(&client.ip().octets());
            bytes.extend_from_slice(&edge.ip().octets());
            (client.port(), edge.port())
        }
        Addresses::V6 { client, edge } => {
            bytes.extend_from_slice(&client.ip().octets());
            bytes.extend_from_slice(&edge.ip().octets());
            (client.port(), edge.port())
        }
    };
    bytes.extend_from_slice(&client_port.to_be_bytes());
    bytes.extend_from_slice(&edge_port.to_be_bytes());
}

/// Reads a header. It says its length in its first 16 bytes, so the caller can refuse a long one before it is there.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Invalid> {
    begins(bytes, SIGNATURE)?;
    let Some((&[.., command, family, high, low], rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Decoded::Incomplete { missing: FIXED - bytes.len() });
    };
    if command & 0xf0 != VERSION {
        return Err(Invalid::Version);
    }
    let announced = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED + announced;
    let Some(body) = rest.get(..announced) else {
        return Ok(Decoded::Incomplete { missing: announced - rest.len() });
    };
    let whole = bytes.get(..length).unwrap_or_default();
    let header = match command & 0x0f {
        // "The receiver must […] discard the protocol block including the family."
        LOCAL => Header { meaning: Meaning::Local, tlvs: Vec::new() },
        PROXY => read_body(family, body, whole)?,
        _ => return Err(Invalid::Command),
    };
    Ok(Decoded::Complete { header, length })
}

fn read_body(family: u8, body: &[u8], whole: &[u8]) -> Result<Header, Invalid> {
    let (addresses, fields) = match family & 0xf0 {
        // Nothing says how long addresses of no family are, so nobody knows where fields would begin.
        UNSPEC => (None, &[][..]),
        INET => {
            let (addresses, fields) = read_v4(body)?;
            (Some(addresses), fields)
        }
        INET6 => {
            let (addresses, fields) = read_v6(body)?;
            (Some(addresses), fields)
        }
        UNIX => (None, body.get(UNIX_ADDRESSES..).ok_or(Invalid::CutAddresses)?),
        _ => return Err(Invalid::Family),
    };
    let meaning = match (family & 0x0f, addresses) {
        (STREAM, Some(addresses)) => Meaning::Stream(addresses),
        (DGRAM, Some(addresses)) => Meaning::Datagram(addresses),
        (UNSPEC | STREAM | DGRAM, _) => Meaning::Unknown,
        _ => return Err(Invalid::Family),
    };
    Ok(Header { meaning, tlvs: tlv::read(fields, whole)? })
}

fn read_v4(body: &[u8]) -> Result<(Addresses, &[u8]), Invalid> {
    let (client, rest) = body.split_first_chunk::<4>().ok_or(Invalid::CutAddresses)?;
    let (edge, rest) = rest.split_first_chunk::<4>().ok_or(Invalid::CutAddresses)?;
    let (client_port, edge_port, rest) = read_ports(rest)?;
    let client = SocketAddrV4::new((*client).into(), client_port);
    Ok((Addresses::V4 { client, edge: SocketAddrV4::new((*edge).into(), edge_port) }, rest))
}

fn read_v6(body: &[u8]) -> Result<(Addresses, &[u8]), Invalid> {
    let (client, rest) = body.split_first_chunk::<16>().ok_or(Invalid::CutAddresses)?;
    let (edge, rest) = rest.split_first_chunk::<16>().ok_or(Invalid::CutAddresses)?;
    let (client_port, edge_port, rest) = read_ports(rest)?;
    let client = SocketAddrV6::new((*client).into(), client_port, 0, 0);
    Ok((Addresses::V6 { client, edge: SocketAddrV6::new((*edge).into(), edge_port, 0, 0) }, rest))
}

fn read_ports(bytes: &[u8]) -> Result<(u16, u16, &[u8]), Invalid> {
    let (client, rest) = bytes.split_first_chunk().ok_or(Invalid::CutAddresses)?;
    let (edge, rest) = rest.split_first_chunk().ok_or(Invalid::CutAddresses)?;
    Ok((u16::from_be_bytes(*client), u16::from_be_bytes(*edge), rest))
}
