//! What is in a ClientHello (RFC 8446, section 4.1.2; RFC 5246, section 7.4.1.2). Every length is held against what is
//! there, and what holds more than its length says is refused: two readers must not see two things.
//!
//! Deliberately not here: extensions that nothing depends on.

use super::{
    ClientHello, Version, Why,
    name::{self, Asked},
};

const RANDOM: usize = 32;
const LONGEST_SESSION_ID: usize = 32;

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// Reads a whole ClientHello, behind the head of its message.
pub(super) fn read(message: &[u8]) -> Result<ClientHello, Why> {
    let mut rest = Reader(message);
    let legacy_version = rest.u16().filter(|version| is_known(*version)).ok_or(Why::Malformed("version"))?;
    rest.take(RANDOM).ok_or(Why::Malformed("random"))?;
    rest.short().filter(|id| id.len() <= LONGEST_SESSION_ID).ok_or(Why::Malformed("session id"))?;
    let cipher_suites = rest.long().and_then(numbers).ok_or(Why::Malformed("list of cipher suites"))?;
    rest.short().filter(|methods| !methods.is_empty()).ok_or(Why::Malformed("list of compression methods"))?;
    let extensions = Extensions::read(rest)?;

    let (server_name, invalid_server_name) =
        match extensions.server_name.map(name::read).transpose()?.unwrap_or_default() {
            Asked::Nothing => (None, false),
            Asked::Name(name) => (Some(name), false),
            Asked::Invalid => (None, true),
        };
    let versions = match extensions.versions {
        Some(list) => read_versions(list)?,
        // Without the list a client gets TLS 1.2 at most, whatever else it says (RFC 8446, section 4.2.1).
        None => vec![Version(legacy_version).min(Version::TLS1_2)],
    };
    let known = versions.iter().copied().filter(|version| is_known(version.0));
    Ok(ClientHello {
        lacks_extensions: versions.contains(&Version::TLS1_3) && extensions.lack_something(),
        server_name,
        invalid_server_name,
        highest_version: known.max().ok_or(Why::Malformed("list of versions"))?,
        versions,
        alpn: extensions.alpn.map_or(Ok(Vec::new()), read_alpn)?,
        prefers_aes: cipher_suites.iter().find_map(|suite| is_aes(*suite)).unwrap_or(false),
        cipher_suites,
    })
}

/// What of the extensions is looked into, and what is looked for.
#[derive(Default)]
struct Extensions<'b> {
    server_name: Option<&'b [u8]>,
    versions: Option<&'b [u8]>,
    alpn: Option<&'b [u8]>,
    groups: Option<&'b [u8]>,
    signature_algorithms: Option<&'b [u8]>,
    key_share: Option<&'b [u8]>,
    pre_shared_key: Option<&'b [u8]>,
}

impl<'b> Extensions<'b> {
    fn read(mut rest: Reader<'b>) -> Result<Self, Why> {
        let mut found = Self::default();
        if rest.0.is_empty() {
            // Before TLS 1.2 they are not a part of the message at all.
            return Ok(found);
        }
        let list = rest.long().filter(|_| rest.0.is_empty()).ok_or(Why::Malformed("list of extensions"))?;
        let mut list = Reader(list);
        while !list.0.is_empty() {
            let (kind, data) = list.extension().ok_or(Why::Malformed("list of extensions"))?;
            let (place, twice) = match kind {
                SERVER_NAME => (&mut found.server_name, "server name (it is there twice)"),
                SUPPORTED_VERSIONS => (&mut found.versions, "list of versions (it is there twice)"),
                ALPN => (&mut found.alpn, "list of protocols (it is there twice)"),
                SUPPORTED_GROUPS => (&mut found.groups, "list of groups (it is there twice)"),
                SIGNATURE_ALGORITHMS => {
                    (&mut found.signature_algorithms, "list of signature algorithms (it is there twice)")
                }
                KEY_SHARE => (&mut found.key_share, "key share (it is there twice)"),
                PRE_SHARED_KEY => (&mut found.pre_shared_key, "pre-shared key (it is there twice)"),
                _ => continue,
            };
            // "There MUST NOT be more than one extension of the same type": the origin could take the other one.
            if place.replace(data).is_some() {
                return Err(Why::Malformed(twice));
            }
        }
        Ok(found)
    }

    /// Of an offer of TLS 1.3: groups and key shares go together, and who has no key from before needs these and
    /// signatures (RFC 8446, section 9.2).
    const fn lack_something(&self) -> bool {
        let shares_keys = self.groups.is_some() && self.key_share.is_some();
        let shares_none = self.groups.is_none() && self.key_share.is_none();
        match self.pre_shared_key {
            Some(_) => !shares_keys && !shares_none,
            None => !shares_keys || self.signature_algorithms.is_none(),
        }
    }
}

fn read_versions(data: &[u8]) -> Result<Vec<Version>, Why> {
    let mut rest = Reader(data);
    let list = rest.short().filter(|_| rest.0.is_empty()).and_then(numbers);
    Ok(list.ok_or(Why::Malformed("list of versions"))?.into_iter().map(Version).collect())
}

fn read_alpn(data: &[u8]) -> Result<Vec<Vec<u8>>, Why> {
    let malformed = Why::Malformed("list of protocols");
    let mut rest = Reader(data);
    let mut list = Reader(rest.long().filter(|list| !list.is_empty() && rest.0.is_empty()).ok_or(malformed)?);
    let mut found = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.short().filter(|protocol| !protocol.is_empty()).ok_or(malformed)?;
        if !matches!(*protocol, [high, low] if is_grease(u16::from_be_bytes([high, low]))) {
            found.push(protocol.to_vec());
        }
    }
    Ok(found)
}

/// Numbers of two bytes, at least one of them. What is left without GREASE may be none.
fn numbers(list: &[u8]) -> Option<Vec<u16>> {
    let (numbers, []) = list.as_chunks() else { return None };
    let all = numbers.iter().map(|number| u16::from_be_bytes(*number));
    (!numbers.is_empty()).then(|| all.filter(|number| !is_grease(*number)).collect())
}

/// Both bytes the same, and 0x?a (RFC 8701, section 2).
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn is_known(version: u16) -> bool {
    version >> 8 == 3
}

/// Whether a suite is of AES-GCM. None: it is of neither AES-GCM nor ChaCha20-Poly1305.
fn is_aes(suite: u16) -> Option<bool> {
    match suite {
        // RFC 8446; RFC 5288 and RFC 5487; RFC 5289.
        0x1301 | 0x1302 | 0x009c..=0x00ad | 0xc02b..=0xc032 => Some(true),
        // RFC 8446; RFC 7905.
        0x1303 | 0xcca8..=0xccae => Some(false),
        _ => None,
    }
}

/// Takes from the front. None: there is not enough.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    /// Behind a length of one byte.
    fn short(&mut self) -> Option<&'b [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Behind a length of two bytes.
    pub(super) fn long(&mut self) -> Option<&'b [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    fn extension(&mut self) -> Option<(u16, &'b [u8])> {
        Some((self.u16()?, self.long()?))
    }
}
