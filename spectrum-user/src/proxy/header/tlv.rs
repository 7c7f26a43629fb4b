//! What a v2 header may say besides addresses: fields of type, length and value (section 2.2.1).

use super::{Invalid, v2::TooLong};

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;

/// Type and length.
const HEAD: usize = 3;
const LONGEST_UNIQUE_ID: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tlv {
    /// The protocol that TLS agreed on.
    Alpn(Vec<u8>),
    /// The name that the client asked for.
    Authority(String),
    /// So many bytes that say nothing.
    Noop(u16),
    /// A name of the connection, for the logs of both sides.
    UniqueId(UniqueId),
    Ssl(Ssl),
    /// Any other type, as it came.
    Other(Field),
}

/// At most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueId(Vec<u8>);

/// What is known of the client's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssl {
    /// 1: over TLS, 2: a certificate in this connection, 4: one in this session.
    pub client: u8,
    /// 0: the client's certificate was verified.
    pub verify: u32,
    /// Version, name, cipher and so on, by their types.
    pub fields: Vec<Field>,
}

/// A field whose value is not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub kind: u8,
    pub value: Vec<u8>,
}

impl UniqueId {
    /// None: it is too long.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= LONGEST_UNIQUE_ID).then_some(Self(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Tlv {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) -> Result<(), TooLong> {
        match self {
            Self::Alpn(value) => write(bytes, ALPN, value),
            Self::Authority(value) => write(bytes, AUTHORITY, value.as_bytes()),
            Self::Noop(length) => write(bytes, NOOP, &vec![0; usize::from(*length)]),
            Self::UniqueId(UniqueId(value)) => write(bytes, UNIQUE_ID, value),
            Self::Ssl(ssl) => {
                let mut value = vec![ssl.client];
                value.extend_from_slice(&ssl.verify.to_be_bytes());
                ssl.fields.iter().try_for_each(|field| write(&mut value, field.kind, &field.value))?;
                write(bytes, SSL, &value)
            }
            Self::Other(field) => write(bytes, field.kind, &field.value),
        }
    }

    fn read(kind: u8, value: &[u8]) -> Result<Self, Invalid> {
        Ok(match kind {
            ALPN => Self::Alpn(value.to_vec()),
            AUTHORITY => Self::Authority(String::from_utf8(value.to_vec()).map_err(|_| Invalid::Field)?),
            NOOP => Self::Noop(u16::try_from(value.len()).map_err(|_| Invalid::Field)?),
            UNIQUE_ID => Self::UniqueId(UniqueId::new(value).ok_or(Invalid::Field)?),
            SSL => Self::Ssl(read_ssl(value)?),
            kind => Self::Other(Field { kind, value: value.to_vec() }),
        })
    }
}

/// Appends one field.
pub(super) fn write(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), TooLong> {
    bytes.push(kind);
    bytes.extend_from_slice(&u16::try_from(value.len()).map_err(|_| TooLong)?.to_be_bytes());
    bytes.extend_from_slice(value);
    Ok(())
}

/// The fields at the end of `whole`, which a checksum among them is about.
pub(super) fn read(fields: &[u8], whole: &[u8]) -> Result<Vec<Tlv>, Invalid> {
    let mut found = Vec::new();
    let mut summed = false;
    for field in Walk(fields) {
        let (kind, value, behind) = field?;
        if kind == CRC32C {
            // A second one would be a part of what the first is the sum of.
            if std::mem::replace(&mut summed, true) {
                return Err(Invalid::Field);
            }
            verify(value, behind.len(), whole)?;
        } else {
            found.push(Tlv::read(kind, value)?);
        }
    }
    Ok(found)
}

/// The sum is that of the whole header with zeros in its own place.
fn verify(value: &[u8], behind: usize, whole: &[u8]) -> Result<(), Invalid> {
    let sum: [u8; 4] = value.try_into().map_err(|_| Invalid::Field)?;
    let (before, after) = whole.split_at_checked(whole.len().saturating_sub(behind)).ok_or(Invalid::Field)?;
    let before = before.get(..before.len().saturating_sub(sum.len())).unwrap_or_default();
    let computed = [&[0; 4][..], after].into_iter().fold(crc32c::crc32c(before), crc32c::crc32c_append);
    if computed == u32::from_be_bytes(sum) { Ok(()) } else { Err(Invalid::Checksum) }
}

fn read_ssl(value: &[u8]) -> Result<Ssl, Invalid> {
    let (&[client], rest) = value.split_first_chunk().ok_or(Invalid::Field)?;
    let (verify, rest) = rest.split_first_chunk().ok_or(Invalid::Field)?;
    let field = |field: Result<(u8, &[u8], &[u8]), Invalid>| {
        field.map(|(kind, value, _)| Field { kind, value: value.to_vec() })
    };
    Ok(Ssl { client, verify: u32::from_be_bytes(*verify), fields: Walk(rest).map(field).collect::<Result<_, _>>()? })
}

/// One field after the other: type, value, and what is behind it. Ends at the first that is cut off.
struct Walk<'b>(&'b [u8]);

impl<'b> Iterator for Walk<'b> {
    type Item = Result<(u8, &'b [u8], &'b [u8]), Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.0.split_first_chunk::<HEAD>().and_then(|(&[kind, high, low], rest)| {
            let (value, behind) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
            Some((kind, value, behind))
        });
        self.0 = field.map_or(&[], |(.., behind)| behind);
        Some(field.ok_or(Invalid::CutField))
    }
}
