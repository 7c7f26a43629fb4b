//! The key that files are sealed with, and who may know it.
//!
//! Deliberately not here: what is sealed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::crypto::{Cipher, SECRET, random};
use crate::state::document::{self, ReplaceError};

/// A key that seals files.
pub struct Seal(Cipher);

/// Why a file is no key to seal with.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("there is no seal key {0}")]
    Absent(PathBuf),
    #[error("cannot read the seal key {path}: {cause}")]
    Read { path: PathBuf, cause: io::Error },
    #[error("the seal key {0} is not a file")]
    NotAFile(PathBuf),
    #[error("the seal key {path} belongs to the user {owner}, who can read and change it; make it this process's own")]
    Foreign { path: PathBuf, owner: u32 },
    #[error("others can get at the seal key {path} (mode {mode:04o}); it may be known: make a new one, with mode 0600")]
    Open { path: PathBuf, mode: u32 },
    #[error("the seal key {0} is neither 32 bytes nor 64 hexadecimal digits")]
    Shape(PathBuf),
    #[error("cannot {step} the seal key {path}: {cause}")]
    Write { step: &'static str, path: PathBuf, cause: io::Error },
    #[error("the system has no random bytes for a seal key")]
    NoRandomness,
}

impl Seal {
    /// Reads a key that was put there: 32 bytes, or 64 hexadecimal digits and perhaps a line feed. A file that others
    /// than its owner can get at is refused, and one whose owner is neither root nor this process.
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        Self::read(path, 0)
    }

    /// Reads a key that this program made. No link is followed: who can put one there could choose the key.
    pub(super) fn own(path: &Path) -> Result<Self, SealError> {
        Self::read(path, libc::O_NOFOLLOW)
    }

    /// Makes a key and keeps it, in place of what is there.
    pub(super) fn make(path: &Path) -> Result<Self, SealError> {
        let secret: Zeroizing<[u8; SECRET]> = Zeroizing::new(random().ok_or(SealError::NoRandomness)?);
        document::replace_secret(path, &*secret).map_err(|ReplaceError { step, path, cause }| SealError::Write {
            step,
            path,
            cause,
        })?;
        Cipher::new(&secret).map(Self).ok_or_else(|| SealError::Shape(path.to_owned()))
    }

    fn read(path: &Path, flags: i32) -> Result<Self, SealError> {
        let secret = contents(path, flags)?;
        let secret = decode(&secret).ok_or_else(|| SealError::Shape(path.to_owned()))?;
        Cipher::new(&secret).map(Self).ok_or_else(|| SealError::Shape(path.to_owned()))
    }

    /// What `plain` is behind `head`: sealed, and bound to the head and a purpose.
    pub(super) fn close(&self, purpose: &[u8], head: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = head.to_vec();
        self.0.seal(&[purpose, head].concat(), plain, &mut sealed)?;
        Some(sealed)
    }

    /// What is behind a head, if it was sealed so.
    pub(super) fn open(&self, purpose: &[u8], head: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.0.open(&[purpose, head].concat(), sealed).map(Zeroizing::new)
    }
}

/// What is asked of a file is asked of the one that is open: it cannot be another by then.
fn contents(path: &Path, flags: i32) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => SealError::Absent(path.to_owned()),
        _ => SealError::Read { path: path.to_owned(), cause },
    };
    // Nobody needs to write to a FIFO before this is told that it is no file.
    let file = OpenOptions::new().read(true).custom_flags(flags | libc::O_NONBLOCK).open(path).map_err(failed)?;
    may_be_trusted(path, &file)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn may_be_trusted(path: &Path, file: &File) -> Result<(), SealError> {
    let found = file.metadata().map_err(|cause| SealError::Read { path: path.to_owned(), cause })?;
    if !found.is_file() {
        return Err(SealError::NotAFile(path.to_owned()));
    }
    // Root can read everything anyway, and owns what the service manager hands in.
    if found.uid() != nix::unistd::geteuid().as_raw() && found.uid() != 0 {
        return Err(SealError::Foreign { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o077 != 0 {
        return Err(SealError::Open { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Option<Zeroizing<[u8; SECRET]>> {
    if let Ok(secret) = bytes.try_into() {
        return Some(Zeroizing::new(secret));
    }
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let mut secret = Zeroizing::new([0; SECRET]);
    if pairs.len() != SECRET {
        return None;
    }
    for (byte, [high, low]) in secret.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(secret)
}

/// Of 64 digits and a line feed.
const LARGEST: usize = 2 * SECRET + 1;
