//! Session tickets (RFC 5077; RFC 8446, section 4.6.1) that every worker can read, and a successor, and the process after
//! a restart: the keys that they are sealed with, how these change, and how they are kept.
//!
//! Who has a ticket key can read the connections of TLS 1.2 whose tickets it sealed, also those recorded before, and take
//! the place of the edge in resumed ones. So a key seals for an hour (`ROTATION`), as the product's do, and opens for
//! twelve (`LIFETIME`). After that it is forgotten, and no ticket is good for longer.
//!
//! Kept as `tls/tickets.sealed` in the state directory, sealed with a key that is in `tls/seal.key` beside it, or in a file
//! of the operator's. What that protects from:
//!
//! - With the key elsewhere (a credential of systemd's that is bound to the TPM, a memory filesystem): from whoever gets the
//!   disk, a backup or a snapshot of it alone.
//! - With the key beside it: from a copy of the one file, and from changes to it. Not from a copy of the directory.
//! - Never from root of this machine, or from who can read the memory of the process. A file that was replaced may still be
//!   found on the disk, so a ticket key is not gone from there for certain after its twelve hours.
//!
//! Only one process may change keys, the one that serves: it calls `rotate_if_due`. A predecessor that drains, and a
//! successor that does not serve yet, read alone. What cannot be kept costs full handshakes after a restart, never a start.
//!
//! Deliberately not here: who calls when, TLS itself, and sharing keys between machines.

mod app;
mod crypto;
mod kept;
mod keys;
mod seal;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

pub use self::{
    app::AppTickets,
    seal::{Seal, SealError},
};
use self::{
    kept::Kept,
    keys::{Ring, Seconds},
};

/// For so long a key seals new tickets.
pub const ROTATION: Duration = Duration::from_hours(1);
/// For so long after it was made a key opens tickets.
pub const LIFETIME: Duration = Duration::from_hours(12);
/// What could not be kept is tried again after this time.
const RETRY: Duration = Duration::from_mins(1);

/// The keys of all tickets. Shared by everything that makes or takes tickets; those never wait for one another.
pub struct TicketKeys {
    ring: ArcSwap<Ring>,
    /// None: in memory only.
    kept: Option<Mutex<Kept>>,
}

/// Where the key is that ticket keys are sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealKey {
    /// `tls/seal.key` in the state directory, made where there is none.
    Own,
    /// A file of the operator's, with 32 bytes, or 64 hexadecimal digits and perhaps a line feed.
    File(PathBuf),
}

impl TicketKeys {
    /// Keys that end with the process.
    pub fn in_memory(now: SystemTime) -> Self {
        Self { ring: ArcSwap::from_pointee(Ring::default().tended(seconds(now)).ring), kept: None }
    }

    /// The keys that are kept in a state directory, or new ones; nothing is written before [`Self::rotate_if_due`].
    /// Beside them, for the log: what was found there and cannot be used.
    pub fn open(state_dir: &Path, seal_key: SealKey, now: SystemTime) -> (Self, Option<String>) {
        let mut kept = Kept::new(state_dir, seal_key);
        let found = kept.read().unwrap_or_default();
        let tended = found.tended(seconds(now));
        kept.differs |= tended.changed;
        let note = kept.problem.clone();
        (Self { ring: ArcSwap::from_pointee(tended.ring), kept: Some(Mutex::new(kept)) }, note)
    }

    /// Makes a new key where the current one has sealed for long enough, forgets those that are too old, and keeps what
    /// there is. True: there is a new key. To be called every few seconds or minutes, by the one process that serves.
    ///
    /// Keys that another process kept in the meantime are taken over first.
    pub fn rotate_if_due(&self, now: SystemTime) -> bool {
        let now = seconds(now);
        let mut kept = self.kept();
        if let Some(kept) = &mut kept {
            self.take_over(kept);
        }
        let tended = self.ring.load().tended(now);
        let ring = Arc::new(tended.ring);
        if tended.changed {
            self.ring.store(Arc::clone(&ring));
        }
        if let Some(kept) = &mut kept {
            kept.differs |= tended.changed;
            kept.write_if_due(&ring, now);
        }
        tended.rotated
    }

    /// Takes over what another process has kept since. True: there were other keys. For processes that only read.
    pub fn reload(&self) -> bool {
        self.kept().is_some_and(|mut kept| self.take_over(&mut kept))
    }

    /// Why the keys would not survive a restart, as it was found last; for the status and the log.
    pub fn problem(&self) -> Option<String> {
        self.kept()?.problem.clone()
    }

    fn take_over(&self, kept: &mut Kept) -> bool {
        let Some(found) = kept.read_if_changed() else { return false };
        let ours = self.ring.load();
        let merged = ours.merged(&found);
        // What only this process knows has to get into the file, if it is this process that writes.
        kept.differs |= !merged.is_same(&found);
        let other = !merged.is_same(&ours);
        self.ring.store(Arc::new(merged));
        other
    }

    fn kept(&self) -> Option<MutexGuard<'_, Kept>> {
        self.kept.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`AppTickets`].
    fn encrypt(&self, context: &[u8], plain: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        self.ring.load().encrypt(context, plain, seconds(now))
    }

    fn decrypt(&self, context: &[u8], ticket: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        self.ring.load().decrypt(context, ticket, seconds(now))
    }
}

impl fmt::Debug for TicketKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

/// Before 1970 is 1970: only differences matter, and these are never taken for long.
fn seconds(time: SystemTime) -> Seconds {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
