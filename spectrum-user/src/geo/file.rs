//! A database's bytes, whole, and what tells one version of a file from another.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::DatabaseError;

/// The largest of the field's databases have some hundred megabytes.
const MOST_BYTES: u64 = 512 << 20;

/// A version of a file: whatever writes or replaces it changes this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub path: PathBuf,
    pub bytes: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::new(path, &std::fs::metadata(path)?))
    }

    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            bytes: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }
}

/// Reads a file that stays the same for as long as it is read.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Identity), DatabaseError> {
    let mut file = File::open(path).map_err(DatabaseError::Read)?;
    let before = file.metadata().map_err(DatabaseError::Read)?;
    if !before.is_file() {
        return Err(DatabaseError::NoFile);
    }
    if before.len() > MOST_BYTES {
        return Err(DatabaseError::TooLarge { bytes: before.len(), most: MOST_BYTES });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or_default());
    // One byte more than there should be: a file that grows is noticed, and never fills the memory.
    (&mut file).take(before.len() + 1).read_to_end(&mut bytes).map_err(DatabaseError::Read)?;
    let after = file.metadata().map_err(DatabaseError::Read)?;
    let identity = Identity::new(path, &before);
    if Identity::new(path, &after) != identity || bytes.len() as u64 != before.len() {
        return Err(DatabaseError::Changed);
    }
    Ok((bytes, identity))
}
