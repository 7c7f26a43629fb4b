//! Sysctls of this network namespace that are 2 while protected, and go back to what they were.
//!
//! - `net.ipv4.tcp_syncookies`: the kernel gives a cookie for every SYN, and so does XDP in its place.
//! - `net.ipv4.tcp_timestamps`: timestamps without a random offset, so that XDP's cookies can remember options in them.
//!
//! They hold for the whole namespace: the host's other connections too.
//!
//! What one was is written down before it is changed. A process that is killed leaves the protection on, and the note:
//! the next start, or `spectrum unload`, puts back what stands there.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{dataplane::lock::RUN_DIRECTORY, model::Instance};

const PROTECTED: &str = "2";

/// Which sysctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sysctl {
    SynCookies,
    Timestamps,
}

#[derive(Debug, thiserror::Error)]
#[error("{} cannot be changed", sysctl.name())]
pub struct SysctlError {
    sysctl: Sysctl,
    #[source]
    source: io::Error,
}

impl SysctlError {
    pub const fn sysctl(&self) -> Sysctl {
        self.sysctl
    }
}

/// Switches one of them.
#[derive(Debug)]
pub struct Switch {
    sysctl: Sysctl,
    note: PathBuf,
    on: bool,
}

impl Sysctl {
    const ALL: [Self; 2] = [Self::SynCookies, Self::Timestamps];

    pub const fn name(self) -> &'static str {
        match self {
            Self::SynCookies => "net.ipv4.tcp_syncookies",
            Self::Timestamps => "net.ipv4.tcp_timestamps",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::SynCookies => "/proc/sys/net/ipv4/tcp_syncookies",
            Self::Timestamps => "/proc/sys/net/ipv4/tcp_timestamps",
        }
    }

    /// Where the note about it is kept.
    fn note(self, instance: &Instance) -> PathBuf {
        let key = self.name().trim_start_matches("net.ipv4.");
        Path::new(RUN_DIRECTORY).join(format!("{instance}.{key}"))
    }

    const fn error(self) -> impl FnOnce(io::Error) -> SysctlError {
        move |source| SysctlError { sysctl: self, source }
    }
}

impl Switch {
    pub fn new(sysctl: Sysctl, instance: &Instance) -> Self {
        Self { sysctl, note: sysctl.note(instance), on: false }
    }

    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Goes on where another process switched it on: the note about it is there.
    pub const fn resume(&mut self, on: bool) {
        self.on = on;
    }

    /// Whether it still is 2: somebody may have decided otherwise since.
    pub fn holds(&self) -> bool {
        fs::read_to_string(self.sysctl.path()).is_ok_and(|value| value.trim() == PROTECTED)
    }

    /// 2, or as it was before. Says whether anything changed.
    pub fn set(&mut self, on: bool) -> Result<bool, SysctlError> {
        if on == self.on {
            return Ok(false);
        }
        let path = Path::new(self.sysctl.path());
        if on {
            switch_on(&self.note, path).map_err(self.sysctl.error())?;
        } else {
            put_back(&self.note, path).map_err(self.sysctl.error())?;
        }
        self.on = on;
        Ok(true)
    }
}

/// Puts back what an earlier process of this instance found. Says which and what that was.
pub fn restore(instance: &Instance) -> Result<Vec<(Sysctl, String)>, SysctlError> {
    let mut restored = Vec::new();
    for sysctl in Sysctl::ALL {
        let found = put_back(&sysctl.note(instance), Path::new(sysctl.path())).map_err(sysctl.error())?;
        restored.extend(found.map(|found| (sysctl, found)));
    }
    // The notes may have been the last things in there.
    let _ = fs::remove_dir(RUN_DIRECTORY);
    Ok(restored)
}

fn switch_on(note: &Path, sysctl: &Path) -> io::Result<()> {
    let found = fs::read_to_string(sysctl)?;
    // It may be the operator's own wish: then there is nothing to put back.
    if found.trim() == PROTECTED {
        return Ok(());
    }
    fs::write(note, format!("{} {}\n", namespace()?, found.trim()))?;
    fs::write(sysctl, PROTECTED)
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
        && fs::read_to_string(sysctl)?.trim() == PROTECTED
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
