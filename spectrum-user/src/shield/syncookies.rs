//! `net.ipv4.tcp_syncookies` of this network namespace: 2 while protected, and back to what it was.
//!
//! With 2 the kernel gives a cookie for every SYN, and so does XDP in its place. It holds for the whole namespace: the
//! host's other listeners get cookies too.
//!
//! What it was is written down before it is changed. A process that is killed leaves the protection on, and the note:
//! the next start, or `spectrum unload`, puts back what stands there.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{dataplane::lock::RUN_DIRECTORY, model::Instance};

const SYSCTL: &str = "/proc/sys/net/ipv4/tcp_syncookies";
const EVERY_SYN: &str = "2";

#[derive(Debug, thiserror::Error)]
#[error("net.ipv4.tcp_syncookies cannot be changed")]
pub struct SysctlError(#[from] io::Error);

/// Switches cookies for every SYN on and off.
#[derive(Debug)]
pub struct SynCookiesSwitch {
    note: PathBuf,
    on: bool,
}

impl SynCookiesSwitch {
    pub fn new(instance: &Instance) -> Self {
        Self { note: note(instance), on: false }
    }

    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Cookies for every SYN, or as it was before. Says whether anything changed.
    pub fn set(&mut self, on: bool) -> Result<bool, SysctlError> {
        if on == self.on {
            return Ok(false);
        }
        if on {
            switch_on(&self.note, Path::new(SYSCTL))?;
        } else {
            put_back(&self.note, Path::new(SYSCTL))?;
        }
        self.on = on;
        Ok(true)
    }
}

/// Puts back what an earlier process of this instance found. Says what that was; None: nothing is noted.
pub fn restore(instance: &Instance) -> Result<Option<String>, SysctlError> {
    let found = put_back(&note(instance), Path::new(SYSCTL))?;
    // The note may have been the last thing in there.
    let _ = fs::remove_dir(RUN_DIRECTORY);
    Ok(found)
}

fn note(instance: &Instance) -> PathBuf {
    Path::new(RUN_DIRECTORY).join(format!("{instance}.tcp_syncookies"))
}

fn switch_on(note: &Path, sysctl: &Path) -> io::Result<()> {
    let found = fs::read_to_string(sysctl)?;
    // It may be the operator's own wish: then there is nothing to put back.
    if found.trim() == EVERY_SYN {
        return Ok(());
    }
    fs::write(note, format!("{} {}\n", namespace()?, found.trim()))?;
    fs::write(sysctl, EVERY_SYN)
}

fn put_back(note: &Path, sysctl: &Path) -> io::Result<Option<String>> {
    let noted = match fs::read_to_string(note) {
        Ok(noted) => noted,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut words = noted.split_whitespace();
    let here = words.next().and_then(|inode| inode.parse().ok()) == Some(namespace()?);
    let found = words.next().filter(|found| here && matches!(*found, "0" | "1"));
    if let Some(found) = found
        // Somebody has decided otherwise since: that stays.
        && fs::read_to_string(sysctl)?.trim() == EVERY_SYN
    {
        fs::write(sysctl, found)?;
    }
    fs::remove_file(note)?;
    Ok(found.map(str::to_owned))
}

/// The inode of this thread's network namespace: a note of another one is about another sysctl.
fn namespace() -> io::Result<u64> {
    fs::metadata("/proc/thread-self/ns/net").map(|namespace| namespace.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(value: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let (note, sysctl) = (directory.path().join("note"), directory.path().join("sysctl"));
        fs::write(&sysctl, value).unwrap();
        (directory, note, sysctl)
    }

    #[test]
    fn what_was_there_comes_back() {
        let (_directory, note, sysctl) = files("1\n");
        switch_on(&note, &sysctl).unwrap();
        assert_eq!(fs::read_to_string(&sysctl).unwrap(), "2");
        assert_eq!(put_back(&note, &sysctl).unwrap().as_deref(), Some("1"));
        assert_eq!(fs::read_to_string(&sysctl).unwrap(), "1");
        assert!(!note.exists());
        assert_eq!(put_back(&note, &sysctl).unwrap(), None);
    }

    #[test]
    fn the_operators_own_wish_is_kept() {
        let (_directory, note, sysctl) = files("2\n");
        switch_on(&note, &sysctl).unwrap();
        assert!(!note.exists());
        put_back(&note, &sysctl).unwrap();
        assert_eq!(fs::read_to_string(&sysctl).unwrap(), "2\n");

        fs::write(&sysctl, "1\n").unwrap();
        switch_on(&note, &sysctl).unwrap();
        fs::write(&sysctl, "0\n").unwrap();
        put_back(&note, &sysctl).unwrap();
        assert_eq!(fs::read_to_string(&sysctl).unwrap(), "0\n", "somebody decided otherwise in between");
    }

    #[test]
    fn a_note_of_another_namespace_or_of_nonsense_changes_nothing() {
        for noted in ["1 1\n", "", "x y z", &format!("{} 7\n", namespace().unwrap())] {
            let (_directory, note, sysctl) = files("2\n");
            fs::write(&note, noted).unwrap();
            put_back(&note, &sysctl).unwrap();
            assert_eq!(fs::read_to_string(&sysctl).unwrap(), "2\n", "{noted:?}");
            assert!(!note.exists());
        }
    }
}
