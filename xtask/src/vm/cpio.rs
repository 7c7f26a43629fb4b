//! Writes the kernel's initramfs format ("newc", Documentation/driver-api/early-userspace/buffer-format.rst), device nodes
//! included, which needs neither root nor a program.

use std::{
    collections::BTreeSet,
    io::{Result, Write},
    path::Path,
};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

pub(super) struct Archive<W> {
    output: W,
    entries: u32,
    folders: BTreeSet<String>,
}

#[derive(Default)]
struct Entry<'a> {
    mode: u32,
    device: (u32, u32),
    bytes: &'a [u8],
}

impl<W: Write> Archive<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, entries: 0, folders: BTreeSet::new() }
    }

    /// A folder, and those above it.
    pub(super) fn folder(&mut self, path: &str) -> Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        self.above(path)?;
        self.write(path, &Entry { mode: FOLDER, ..Entry::default() })
    }

    /// A file that may be executed.
    pub(super) fn program(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        self.above(path)?;
        self.write(path, &Entry { mode: PROGRAM, bytes, ..Entry::default() })
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let path = path.trim_start_matches('/');
        self.above(path)?;
        self.write(path, &Entry { mode: LINK, bytes: target.as_bytes(), ..Entry::default() })
    }

    pub(super) fn character_device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        let path = path.trim_start_matches('/');
        self.above(path)?;
        self.write(path, &Entry { mode: CHARACTER_DEVICE, device: (major, minor), ..Entry::default() })
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.write("TRAILER!!!", &Entry::default())?;
        self.output.flush()
    }

    fn above(&mut self, path: &str) -> Result<()> {
        match Path::new(path).parent().and_then(Path::to_str) {
            Some(parent) => self.folder(parent),
            None => Ok(()),
        }
    }

    fn write(&mut self, path: &str, entry: &Entry<'_>) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(entry.bytes.len()).map_err(std::io::Error::other)?;
        let name_size = u32::try_from(path.len() + 1).map_err(std::io::Error::other)?;
        let (major, minor) = entry.device;
        // inode, mode, uid, gid, links, mtime, size, device of the file system, device, length of the name, checksum
        let fields = [self.entries, entry.mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        write!(self.output, "070701")?;
        for field in fields {
            write!(self.output, "{field:08x}")?;
        }
        self.padded(format!("{path}\0").as_bytes(), HEADER)?;
        self.padded(entry.bytes, 0)
    }

    /// Bytes, and zeros up to the next multiple of four since the `before` bytes ahead of them.
    fn padded(&mut self, bytes: &[u8], before: usize) -> Result<()> {
        self.output.write_all(bytes)?;
        let over = (before + bytes.len()) % 4;
        if over > 0 { self.output.write_all(&vec![0; 4 - over]) } else { Ok(()) }
    }
}

/// The magic number and thirteen fields.
const HEADER: usize = 6 + 13 * 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them_and_only_once() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.program("/bin/deep/one", b"1").unwrap();
        archive.program("/bin/deep/two", b"22").unwrap();
        archive.finish().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let positions: Vec<_> = ["bin\0", "bin/deep\0", "bin/deep/one\0", "bin/deep/two\0", "TRAILER!!!\0"]
            .map(|name| text.find(name))
            .into();
        assert!(positions.iter().all(Option::is_some) && positions.is_sorted(), "{positions:?}");
        assert_eq!(text.matches("bin/deep\0").count(), 1);
    }

    #[test]
    fn every_header_begins_at_a_multiple_of_four() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        for length in 0..9 {
            archive.program(&"n".repeat(length + 1), &vec![b'x'; length]).unwrap();
        }
        archive.finish().unwrap();
        let headers: Vec<_> =
            bytes.windows(6).enumerate().filter(|(_, six)| six == b"070701").map(|(at, _)| at).collect();
        assert_eq!(headers.len(), 10);
        assert!(headers.iter().all(|at| at % 4 == 0), "{headers:?}");
    }
}
