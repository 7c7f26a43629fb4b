//! Bytes of a file that may hold a key: bounded, whole, wiped when they go; and what tells one version from another.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The largest chains of the field have some ten thousand bytes.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// A version of a file: whatever writes or replaces it changes this. Links are followed, so a link that points elsewhere
/// shows in the inode, and its target's name says nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tls) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file as it was read.
pub(super) struct Content {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) stamp: Stamp,
    pub(super) digest: [u8; 32],
}

/// Why there are no bytes.
#[derive(Debug)]
pub(super) enum Unread {
    Io(io::Error),
    /// A directory, a pipe, a device.
    NoFile,
    TooLarge,
    /// It was written to meanwhile.
    Changed,
}

impl Stamp {
    pub(in crate::tls) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&std::fs::metadata(path)?))
    }

    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether users who are neither the owner nor of the group can read the file.
    pub(super) const fn is_open_to_all(&self) -> bool {
        self.mode & 0o004 != 0
    }

    /// Whether it was written so shortly before `now` that another write could leave the same stamp: kernels note the time
    /// in ticks of some milliseconds, and some file systems in seconds.
    pub(in crate::tls) fn is_young(&self, now: SystemTime) -> bool {
        const COARSEST: Duration = Duration::from_secs(3);
        let Some(changed) = u64::try_from(self.changed.0).ok().map(Duration::from_secs) else { return false };
        // A time in the future (another host's clock, on a network file system) says nothing: young until it is past.
        now.duration_since(UNIX_EPOCH).is_ok_and(|now| changed + COARSEST >= now)
    }
}

/// Reads a regular file that stays the same for as long as it is read.
pub(super) fn read(path: &Path) -> Result<Content, Unread> {
    // What opens a pipe waits for its other end: neither here, nor between the look and the opening.
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(Unread::Io)?;
    let before = file.metadata().map_err(Unread::Io)?;
    if !before.is_file() {
        return Err(Unread::NoFile);
    }
    if before.len() > MOST_BYTES {
        return Err(Unread::TooLarge);
    }
    let bytes = fill(&mut file, usize::try_from(before.len()).unwrap_or_default()).map_err(Unread::Io)?;
    let stamp = Stamp::new(&before);
    let after = file.metadata().map_err(Unread::Io)?;
    if Stamp::new(&after) != stamp || bytes.len() as u64 != before.len() {
        return Err(Unread::Changed);
    }
    let digest = Sha256::digest(&*bytes).into();
    Ok(Content { bytes, stamp, digest })
}

/// Up to one byte more than `expected`, which shows that a file grows. The memory is had at once: what grows leaves copies
/// behind that nobody wipes.
fn fill(file: &mut File, expected: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; expected + 1]);
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
