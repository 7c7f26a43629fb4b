//! The records that a handshake comes in (RFC 8446, section 5.1), as far as they are there.
//!
//! Deliberately not here: what is in them.

use super::Why;

/// Kind, version, length.
pub(super) const HEAD: usize = 5;

const HANDSHAKE: u8 = 22;
/// Of every version since SSL 3.0.
const MAJOR: u8 = 3;
const LONGEST: u16 = 1 << 14;

/// What is there of each record's content; of the last one it may be a part, or nothing. Ends behind the first that cannot
/// be a part of a handshake.
pub(super) struct Records<'b> {
    rest: &'b [u8],
    first: bool,
}

impl<'b> Records<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes, first: true }
    }

    /// Each byte of the head is judged as soon as it is there: behind a wrong one there may be none for a long time.
    fn read(&mut self, kind: u8) -> Result<&'b [u8], Why> {
        let bytes = std::mem::take(&mut self.rest);
        match (kind, std::mem::take(&mut self.first)) {
            (HANDSHAKE, _) => {}
            (other, true) => return Err(Why::Kind(other)),
            (other, false) => return Err(Why::Interrupted(other)),
        }
        // The minor version "MUST be ignored for all purposes", and clients write what middleboxes want to see.
        match bytes.get(1) {
            Some(&MAJOR) | None => {}
            Some(&other) => return Err(Why::RecordVersion(other)),
        }
        let Some((&[_, _, _, high, low], content)) = bytes.split_first_chunk::<HEAD>() else {
            return Ok(&[]);
        };
        match u16::from_be_bytes([high, low]) {
            0 => Err(Why::EmptyRecord),
            length if length > LONGEST => Err(Why::LongRecord),
            length => Ok(content.split_at_checked(usize::from(length)).map_or(content, |(content, rest)| {
                self.rest = rest;
                content
            })),
        }
    }
}

impl<'b> Iterator for Records<'b> {
    type Item = Result<&'b [u8], Why>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest.first().map(|&kind| self.read(kind))
    }
}
