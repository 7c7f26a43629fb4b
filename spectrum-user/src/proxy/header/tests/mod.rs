//! Bytes that the specification's reader would agree with, and what other implementations make of them.

mod field;
mod properties;
mod vectors;

use super::{Decoded, Header, Invalid, Meaning, Tlv, decode, v1, v2};
use crate::proxy::{ClientAddr, EdgeAddr, header::Addresses};

fn addresses(client: &str, edge: &str) -> Addresses {
    Addresses::between(ClientAddr::new(client.parse().unwrap()), EdgeAddr::new(edge.parse().unwrap()))
}

fn v4() -> Addresses {
    addresses("192.0.2.1:42300", "198.51.100.7:443")
}

fn v6() -> Addresses {
    addresses("[2001:db8::1]:42300", "[2001:db8:ffff::2]:443")
}

fn plain(meaning: Meaning) -> Header {
    Header { meaning, tlvs: Vec::new() }
}

#[expect(clippy::unnecessary_wraps, reason = "what decode() is compared with")]
fn complete(header: Header, length: usize) -> Result<Decoded, Invalid> {
    Ok(Decoded::Complete { header, length })
}
