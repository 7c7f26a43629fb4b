//! A file that is put aside when it has grown, and thrown away when there are too many.
//!
//! Two processes may write to one path: who drains after an upgrade, and who has taken over. Only one of them puts the
//! file aside, and the other goes on in the new one. Lines are whole, because each write goes to the end (`O_APPEND`).

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::lines::Lines;

/// Size at which a file is put aside.
const LIMIT: u64 = 64 << 20;
/// Files that are kept besides the current one: `events.jsonl.1` is the newest.
const KEPT: u32 = 4;

#[derive(Debug)]
pub(super) struct RotatedFile {
    path: PathBuf,
    file: Lines<File>,
    limit: u64,
}

impl RotatedFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, LIMIT)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file: Lines::new(file), limit })
    }

    /// Appends whole lines, and says how many of them it has.
    pub(super) fn write(&mut self, lines: &[u8]) -> (u64, io::Result<()>) {
        match self.make_room() {
            Ok(()) => self.file.write(lines, usize::MAX),
            Err(error) => (0, Err(error)),
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        if !self.is_in_place()? {
            self.reopen()?;
        }
        if self.file.out().metadata()?.len() >= self.limit {
            self.rotate()?;
        }
        Ok(())
    }

    /// Whether the path still leads to the file that is written to.
    fn is_in_place(&self) -> io::Result<bool> {
        let ours = self.file.out().metadata()?;
        match fs::metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::with_limit(&self.path, self.limit)?;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Another process is at it: what is written meanwhile goes to the end of the file before.
        if self.file.out().try_lock().is_err() {
            return Ok(());
        }
        // It has been at it.
        if !self.is_in_place()? {
            return self.reopen();
        }
        for older in (1..KEPT).rev() {
            rename_if_there(&self.aside(older), &self.aside(older + 1))?;
        }
        rename_if_there(&self.path, &self.aside(1))?;
        // The lock goes with the file before.
        self.reopen()
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_throws_the_oldest_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut file = RotatedFile::with_limit(&path, 4).unwrap();
        for line in 0..10 {
            file.write(format!("{line}--\n").as_bytes()).1.unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "9--\n");
        assert_eq!(fs::read_to_string(dir.path().join("events.jsonl.1")).unwrap(), "8--\n");
        assert_eq!(fs::read_to_string(dir.path().join("events.jsonl.4")).unwrap(), "5--\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5);
    }

    #[test]
    fn two_who_write_put_no_file_aside_twice_and_lose_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let lines = |writer: u32| (0..60).map(move |line| format!("{writer}-{line:02}\n"));
        let write = |writer| {
            let mut file = RotatedFile::with_limit(&path, 200).unwrap();
            for line in lines(writer) {
                file.write(line.as_bytes()).1.unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| write(1));
            scope.spawn(|| write(2));
        });
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let files: Vec<String> = names.iter().map(|name| fs::read_to_string(name).unwrap()).collect();
        assert!(files.len() <= 4, "{} files for 600 bytes", files.len());
        assert!(files.iter().skip(1).all(|file| file.len() >= 200), "put aside before it was full: {files:?}");
        let mut found: Vec<&str> = files.iter().flat_map(|file| file.split_inclusive('\n')).collect();
        let mut expected: Vec<String> = lines(1).chain(lines(2)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn goes_on_in_a_new_file_where_somebody_took_it_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut file = RotatedFile::with_limit(&path, 100).unwrap();
        file.write(b"a\n").1.unwrap();
        fs::rename(&path, dir.path().join("away")).unwrap();
        file.write(b"b\n").1.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
    }

    #[test]
    fn goes_on_where_an_earlier_run_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        RotatedFile::with_limit(&path, 100).unwrap().write(b"a\n").1.unwrap();
        RotatedFile::with_limit(&path, 100).unwrap().write(b"b\n").1.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    }
}
