//! Ticket keys in the state directory: `tls/tickets.sealed`, `magic (8) | version (4) | nonce (12) | sealed keys | tag (16)`,
//! replaced as a whole or not at all. The seal is bound to what is before it and to its purpose, so nothing else that the
//! same key seals is taken for ticket keys.
//!
//! A file that says nothing to this program is replaced: what is lost are sessions, and they begin anew. That goes for a
//! newer program's too. A seal key that others can read is not replaced: the operator should see it.
//!
//! Deliberately not here: which keys there should be, and which process may write.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{
    RETRY, SealKey,
    keys::{Ring, Seconds},
    seal::{Seal, SealError},
};
use crate::state::document::{self, ReplaceError};

const MAGIC: &[u8; 8] = b"SPTICKET";
const VERSION: u32 = 1;
const HEAD: usize = MAGIC.len() + size_of::<u32>();
const PURPOSE: &[u8] = b"spectrum session ticket keys";
/// Sixteen keys have less than one KiB.
const LARGEST: u64 = 64 << 10;

/// What this process knows of the file.
pub(super) struct Kept {
    directory: PathBuf,
    seal_key: SealKey,
    /// The file does not hold what is in memory.
    pub(super) differs: bool,
    /// What went wrong last.
    pub(super) problem: Option<String>,
    /// The file as it was read or written last. None: there was none, or it could not be read.
    seen: Option<Stamp>,
    /// When writing failed.
    failed: Option<Seconds>,
}

/// Tells a file from the one that replaces it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

#[derive(Debug, thiserror::Error)]
enum KeptError {
    #[error("{0}; until then session tickets end with this process")]
    Seal(#[from] SealError),
    #[error(
        "others can write to {path} (mode {mode:04o}, of user {owner}), so keys there are not safe and session tickets end \
         with this process; make it this process's own, with mode 0700"
    )]
    Directory { path: PathBuf, mode: u32, owner: u32 },
    #[error("cannot read the ticket keys in {path}: {cause}; sessions begin anew")]
    Read { path: PathBuf, cause: io::Error },
    #[error("{path} holds no ticket keys for this program ({why}); it is replaced, and sessions begin anew")]
    Useless { path: PathBuf, why: String },
    #[error(
        "cannot {step} {path}: {cause}; session tickets end with this process until it can keep its ticket keys there"
    )]
    Write { step: &'static str, path: PathBuf, cause: io::Error },
}

impl Kept {
    /// Nothing is read yet.
    pub(super) fn new(state_dir: &Path, seal_key: SealKey) -> Self {
        let directory = state_dir.join("tls");
        Self { directory, seal_key, differs: true, problem: None, seen: None, failed: None }
    }

    /// The keys that are there. None: none are, or there is a problem now.
    pub(super) fn read(&mut self) -> Option<Ring> {
        // The stamp first: whatever happens to the file from here on is seen as a change.
        let stamp = self.stamp();
        let found = self.load();
        self.seen = stamp.filter(|_| found.is_ok());
        match found {
            Ok(ring) => {
                self.differs = ring.is_none();
                self.problem = None;
                ring
            }
            Err(problem) => {
                self.differs = true;
                self.problem = Some(problem.to_string());
                None
            }
        }
    }

    /// None: they are those that were read or written last.
    pub(super) fn read_if_changed(&mut self) -> Option<Ring> {
        let stamp = self.stamp();
        if stamp.is_none() {
            // Somebody took it away.
            self.differs = true;
            return None;
        }
        if stamp == self.seen { None } else { self.read() }
    }

    /// Writes what is not in the file. After a failure not before some time is over.
    pub(super) fn write_if_due(&mut self, ring: &Ring, now: Seconds) {
        let too_soon = self.failed.is_some_and(|failed| now.abs_diff(failed) < RETRY.as_secs());
        if !self.differs || too_soon {
            return;
        }
        match self.save(ring) {
            Ok(()) => {
                self.differs = false;
                self.problem = None;
                self.failed = None;
                self.seen = self.stamp();
            }
            Err(problem) => {
                self.problem = Some(problem.to_string());
                self.failed = Some(now);
            }
        }
    }

    fn load(&self) -> Result<Option<Ring>, KeptError> {
        let path = self.path();
        let failed = |cause| KeptError::Read { path: path.clone(), cause };
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed)?,
        };
        self.only_we_write()?;
        let useless = |why: &str| KeptError::Useless { path: path.clone(), why: why.to_owned() };
        let seal = match &self.seal_key {
            SealKey::File(path) => Seal::from_file(path)?,
            SealKey::Own => match Seal::own(&self.own_seal_key()) {
                Err(error @ (SealError::Absent(_) | SealError::Shape(_))) => return Err(useless(&error.to_string())),
                seal => seal?,
            },
        };
        decode(&bytes, &seal).map(Some).map_err(|why| useless(&why))
    }

    fn save(&self, ring: &Ring) -> Result<(), KeptError> {
        self.make_directory()?;
        self.only_we_write()?;
        let seal = match &self.seal_key {
            SealKey::File(path) => Seal::from_file(path)?,
            SealKey::Own => match Seal::own(&self.own_seal_key()) {
                Err(SealError::Absent(_) | SealError::Shape(_)) => Seal::make(&self.own_seal_key())?,
                seal => seal?,
            },
        };
        let sealed = seal.close(PURPOSE, &head(), &ring.encode()).ok_or(SealError::NoRandomness)?;
        document::replace_secret(&self.path(), &sealed).map_err(|ReplaceError { step, path, cause }| KeptError::Write {
            step,
            path,
            cause,
        })
    }

    fn make_directory(&self) -> Result<(), KeptError> {
        let failed = |path: &Path, cause| KeptError::Write { step: "create", path: path.to_owned(), cause };
        if let Some(state_dir) = self.directory.parent() {
            fs::create_dir_all(state_dir).map_err(|cause| failed(state_dir, cause))?;
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(failed(&self.directory, cause)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Who writes to the directory chooses the keys, whatever the modes of the files.
    fn only_we_write(&self) -> Result<(), KeptError> {
        let path = &self.directory;
        let found = fs::symlink_metadata(path).map_err(|cause| KeptError::Read { path: path.clone(), cause })?;
        let owner = found.uid();
        let is_ours = owner == nix::unistd::geteuid().as_raw() || owner == 0;
        if found.is_dir() && is_ours && found.mode() & 0o022 == 0 {
            return Ok(());
        }
        Err(KeptError::Directory { path: path.clone(), mode: found.mode() & 0o7777, owner })
    }

    fn path(&self) -> PathBuf {
        self.directory.join("tickets.sealed")
    }

    fn own_seal_key(&self) -> PathBuf {
        self.directory.join("seal.key")
    }

    fn stamp(&self) -> Option<Stamp> {
        let found = fs::metadata(self.path()).ok()?;
        Some(Stamp { inode: found.ino(), changed: (found.mtime(), found.mtime_nsec()), size: found.size() })
    }
}

fn head() -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_be_bytes()].concat()
}

/// Or why not.
fn decode(bytes: &[u8], seal: &Seal) -> Result<Ring, String> {
    let (head, sealed) = bytes.split_first_chunk::<HEAD>().ok_or("it is cut off")?;
    let version = head.strip_prefix(MAGIC).and_then(|version| version.try_into().ok()).map(u32::from_be_bytes);
    match version.ok_or("it is something else")? {
        VERSION => {}
        other => return Err(format!("it is of version {other}, this program writes {VERSION}")),
    }
    let plain = seal.open(PURPOSE, head, sealed).ok_or("it was changed, or sealed with another key")?;
    Ring::decode(&plain).ok_or_else(|| "what is sealed in it are no keys".to_owned())
}
