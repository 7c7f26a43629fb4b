//! A file that is put aside when it has grown, and thrown away when there are too many.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Size at which a file is put aside.
const LIMIT: u64 = 64 << 20;
/// Files that are kept besides the current one: `events.jsonl.1` is the newest.
const KEPT: u32 = 4;

#[derive(Debug)]
pub(super) struct RotatedFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl RotatedFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, LIMIT)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, limit })
    }

    /// Appends whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.size >= self.limit {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for older in (1..KEPT).rev() {
            rename_if_there(&self.aside(older), &self.aside(older + 1))?;
        }
        rename_if_there(&self.path, &self.aside(1))?;
        *self = Self::with_limit(&self.path, self.limit)?;
        Ok(())
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
            file.write(format!("{line}--\n").as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "9--\n");
        assert_eq!(fs::read_to_string(dir.path().join("events.jsonl.1")).unwrap(), "8--\n");
        assert_eq!(fs::read_to_string(dir.path().join("events.jsonl.4")).unwrap(), "5--\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5);
    }

    #[test]
    fn goes_on_where_an_earlier_run_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        RotatedFile::with_limit(&path, 100).unwrap().write(b"a\n").unwrap();
        RotatedFile::with_limit(&path, 100).unwrap().write(b"b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    }
}
