use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{at, hours, minutes, opens, ticket};
use crate::tls::tickets::{SealKey, TicketKeys};

#[test]
fn a_restart_keeps_sessions() {
    let dir = TempDir::new().unwrap();
    let keys = served(dir.path(), 0);
    let first = ticket(&keys, at(hours(0)));
    assert!(keys.rotate_if_due(at(hours(1))));
    let second = ticket(&keys, at(hours(1)));
    drop(keys);
    let keys = open(dir.path(), 2).unwrap();
    assert!(opens(&keys, &first, at(hours(2))));
    assert!(opens(&keys, &second, at(hours(2))));
    drop(keys);
    let keys = open(dir.path(), 12).unwrap();
    assert!(!opens(&keys, &first, at(hours(12))));
    assert!(opens(&keys, &second, at(hours(12))));
}

#[test]
fn nothing_is_written_by_who_reads() {
    let dir = TempDir::new().unwrap();
    let keys = open(&dir.path().join("state"), 0).unwrap();
    keys.reload();
    assert!(opens(&keys, &ticket(&keys, at(hours(0))), at(hours(0))));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn others_cannot_read_it() {
    let dir = TempDir::new().unwrap();
    served(&dir.path().join("state"), 0);
    let kept = dir.path().join("state/tls");
    let modes = [kept.clone(), kept.join("tickets.sealed"), kept.join("seal.key")].map(|path| mode(&path));
    assert_eq!(modes, [0o700, 0o600, 0o600]);
    assert_eq!(fs::read_dir(kept).unwrap().count(), 2);
}

#[test]
fn the_file_is_not_written_without_need() {
    let dir = TempDir::new().unwrap();
    let keys = served(dir.path(), 0);
    let before = fs::read(sealed(&dir)).unwrap();
    assert!(!keys.rotate_if_due(at(minutes(59))));
    assert!(open(dir.path(), 0).unwrap().problem().is_none());
    assert_eq!(fs::read(sealed(&dir)).unwrap(), before);
}

#[test]
fn a_seal_key_that_others_can_read_is_not_used_and_not_replaced() {
    let dir = TempDir::new().unwrap();
    let old = ticket(&served(dir.path(), 0), at(hours(0)));
    let key = dir.path().join("tls/seal.key");
    let before = fs::read(&key).unwrap();
    for bad in [0o640, 0o604, 0o620, 0o601] {
        chmod(&key, bad);
        let (keys, note) = TicketKeys::open(dir.path(), SealKey::Own, at(hours(0)));
        assert!(note.unwrap().contains(&format!("(mode {bad:04o})")));
        keys.rotate_if_due(at(hours(0)));
        assert!(keys.problem().unwrap().contains("end with this process"));
        assert!(!opens(&keys, &old, at(hours(0))));
        assert!(opens(&keys, &ticket(&keys, at(hours(0))), at(hours(0))));
        assert_eq!(fs::read(&key).unwrap(), before);
    }
    // Once that is put right, what is there is read and not overwritten.
    let (keys, _) = TicketKeys::open(dir.path(), SealKey::Own, at(hours(0)));
    let new = ticket(&keys, at(hours(0)));
    chmod(&key, 0o600);
    keys.rotate_if_due(at(hours(0)));
    assert_eq!(keys.problem(), None);
    let again = open(dir.path(), 0).unwrap();
    for ticket in [old, new] {
        assert!(opens(&keys, &ticket, at(hours(0))));
        assert!(opens(&again, &ticket, at(hours(0))));
    }
}

#[test]
fn a_seal_key_behind_a_link_is_not_used() {
    let dir = TempDir::new().unwrap();
    served(dir.path(), 0);
    let key = dir.path().join("tls/seal.key");
    fs::rename(&key, dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), &key).unwrap();
    assert!(open(dir.path(), 0).unwrap_err().contains("cannot read the seal key"));
}

#[test]
fn a_directory_that_others_write_to_is_not_used() {
    let dir = TempDir::new().unwrap();
    let kept = dir.path().join("tls");
    fs::create_dir(&kept).unwrap();
    chmod(&kept, 0o770);
    let keys = open(dir.path(), 0).unwrap();
    keys.rotate_if_due(at(hours(0)));
    assert!(keys.problem().unwrap().contains("others can write"));
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
    // Tried again after a minute, not before.
    chmod(&kept, 0o755);
    keys.rotate_if_due(at(minutes(0)));
    assert!(keys.problem().is_some());
    keys.rotate_if_due(at(minutes(1)));
    assert_eq!(keys.problem(), None);
}

#[test]
fn what_cannot_be_read_is_replaced() {
    let dir = TempDir::new().unwrap();
    let old = ticket(&served(dir.path(), 0), at(hours(0)));
    let whole = fs::read(sealed(&dir)).unwrap();
    let cut = (0..whole.len()).map(|end| whole[..end].to_vec());
    let changed = (0..whole.len()).map(|place| {
        let mut changed = whole.clone();
        changed[place] ^= 0x80;
        changed
    });
    let longer = [[&whole[..], &[0]].concat(), vec![7; 1 << 20]];
    for bad in cut.chain(changed).chain(longer) {
        fs::write(sealed(&dir), &bad).unwrap();
        let (keys, note) = TicketKeys::open(dir.path(), SealKey::Own, at(hours(0)));
        assert!(note.unwrap().contains("sessions begin anew"));
        assert!(!opens(&keys, &old, at(hours(0))));
        assert_eq!(fs::read(sealed(&dir)).unwrap(), bad);
    }
    let (keys, _) = TicketKeys::open(dir.path(), SealKey::Own, at(hours(0)));
    let new = ticket(&keys, at(hours(0)));
    keys.rotate_if_due(at(hours(0)));
    assert_eq!(keys.problem(), None);
    assert!(opens(&open(dir.path(), 0).unwrap(), &new, at(hours(0))));
}

#[test]
fn a_newer_file_is_told_and_replaced() {
    let dir = TempDir::new().unwrap();
    served(dir.path(), 0);
    let mut newer = fs::read(sealed(&dir)).unwrap();
    newer[11] = 2;
    fs::write(sealed(&dir), &newer).unwrap();
    assert!(open(dir.path(), 0).unwrap_err().contains("it is of version 2, this program writes 1"));
    assert_eq!(served_in_spite(dir.path()).problem(), None);
}

#[test]
fn a_seal_key_that_is_none_is_replaced() {
    for bad in [&b""[..], b"short", &[7; 31], &[7; 1000]] {
        let dir = TempDir::new().unwrap();
        served(dir.path(), 0);
        let key = dir.path().join("tls/seal.key");
        fs::write(&key, bad).unwrap();
        assert!(open(dir.path(), 0).unwrap_err().contains("neither 32 bytes nor"));
        assert_eq!(served_in_spite(dir.path()).problem(), None);
        assert_eq!(fs::read(&key).unwrap().len(), 32);
    }
    let dir = TempDir::new().unwrap();
    served(dir.path(), 0);
    fs::remove_file(dir.path().join("tls/seal.key")).unwrap();
    assert!(open(dir.path(), 0).unwrap_err().contains("there is no seal key"));
    assert_eq!(served_in_spite(dir.path()).problem(), None);
}

#[test]
fn an_operators_key_is_never_made() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("credential");
    let (keys, _) = TicketKeys::open(dir.path(), SealKey::File(path.clone()), at(hours(0)));
    keys.rotate_if_due(at(hours(0)));
    assert!(keys.problem().unwrap().contains("there is no seal key"));
    fs::write(&path, [7; 32]).unwrap();
    chmod(&path, 0o400);
    keys.rotate_if_due(at(minutes(1)));
    assert_eq!(keys.problem(), None);
    let sealed = ticket(&keys, at(minutes(1)));
    let (again, note) = TicketKeys::open(dir.path(), SealKey::File(path.clone()), at(minutes(1)));
    assert_eq!(note, None);
    assert!(opens(&again, &sealed, at(minutes(1))));
    assert!(!dir.path().join("tls/seal.key").exists());
    // Another key.
    fs::remove_file(&path).unwrap();
    fs::write(&path, [8; 32]).unwrap();
    chmod(&path, 0o400);
    let (_, note) = TicketKeys::open(dir.path(), SealKey::File(path), at(minutes(1)));
    assert!(note.unwrap().contains("sealed with another key"));
}

#[test]
fn a_successor_and_its_predecessor_read_each_others() {
    let dir = TempDir::new().unwrap();
    let predecessor = served(dir.path(), 0);
    let successor = open(dir.path(), 0).unwrap();
    let early = ticket(&successor, at(hours(0)));
    assert!(opens(&predecessor, &early, at(hours(0))));
    // The predecessor rotates once more before it hands over.
    assert!(predecessor.rotate_if_due(at(hours(1))));
    let last = ticket(&predecessor, at(hours(1)));
    assert!(!opens(&successor, &last, at(hours(1))));
    // The one that serves now reads that first, and has no need for a key of its own.
    assert!(!successor.rotate_if_due(at(hours(1))));
    assert!(opens(&successor, &last, at(hours(1))));
    assert!(successor.rotate_if_due(at(hours(2))));
    let new = ticket(&successor, at(hours(2)));
    assert!(predecessor.reload());
    assert!(!predecessor.reload());
    for ticket in [early, last, new] {
        assert!(opens(&predecessor, &ticket, at(hours(2))));
        assert!(opens(&open(dir.path(), 2).unwrap(), &ticket, at(hours(2))));
    }
}

#[test]
fn a_file_that_is_taken_away_is_written_again() {
    let dir = TempDir::new().unwrap();
    let keys = served(dir.path(), 0);
    let sealed_before = ticket(&keys, at(hours(0)));
    fs::remove_dir_all(dir.path().join("tls")).unwrap();
    assert!(!keys.rotate_if_due(at(hours(0))));
    assert!(opens(&open(dir.path(), 0).unwrap(), &sealed_before, at(hours(0))));
}

#[test]
fn keys_from_the_future_are_kept_as_made_now() {
    let dir = TempDir::new().unwrap();
    let sealed = ticket(&served(dir.path(), 1000), at(hours(1000)));
    let keys = served(dir.path(), 0);
    assert!(opens(&keys, &sealed, at(hours(0))));
    let keys = open(dir.path(), 11).unwrap();
    assert!(opens(&keys, &sealed, at(hours(11))));
    assert!(!opens(&open(dir.path(), 12).unwrap(), &sealed, at(hours(12))));
}

/// Or what it says.
fn open(state_dir: &Path, hour: u64) -> Result<TicketKeys, String> {
    let (keys, note) = TicketKeys::open(state_dir, SealKey::Own, at(hours(hour)));
    note.map_or(Ok(keys), Err)
}

/// By the process that may write.
fn served(state_dir: &Path, hour: u64) -> TicketKeys {
    let keys = open(state_dir, hour).unwrap();
    keys.rotate_if_due(at(hours(hour)));
    assert_eq!(keys.problem(), None);
    keys
}

fn served_in_spite(state_dir: &Path) -> TicketKeys {
    let (keys, _) = TicketKeys::open(state_dir, SealKey::Own, at(hours(0)));
    keys.rotate_if_due(at(hours(0)));
    assert!(open(state_dir, 0).is_ok());
    keys
}

fn sealed(dir: &TempDir) -> PathBuf {
    dir.path().join("tls/tickets.sealed")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
