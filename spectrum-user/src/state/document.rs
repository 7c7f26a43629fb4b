//! A JSON document with a version, read with a bound and replaced as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

/// Why there is no document.
#[derive(Debug)]
pub enum Unreadable {
    /// No file.
    Absent,
    Io(io::Error),
    /// It is of this version, which a later program writes.
    Newer(u64),
    /// Why what is there means nothing.
    Corrupt(String),
}

/// Reads a document of `version` or an older one, of no more than `largest` bytes.
pub fn read<T: DeserializeOwned>(path: &Path, version: u64, largest: u64) -> Result<T, Unreadable> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(largest + 1).read_to_end(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unreadable::Absent),
        Err(error) => return Err(Unreadable::Io(error)),
        Ok(_) if text.len() as u64 > largest => {
            return Err(Unreadable::Corrupt(format!("it is larger than {} MiB", largest >> 20)));
        }
        Ok(_) => {}
    }
    // The version first: what a newer program writes need not have this shape.
    let found = serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|any| any.get("version")?.as_u64());
    if let Some(found) = found.filter(|found| *found > version) {
        return Err(Unreadable::Newer(found));
    }
    serde_json::from_slice(&text).map_err(|error| Unreadable::Corrupt(error.to_string()))
}

/// A file that could not be replaced: the one before is still there.
#[derive(Debug)]
pub struct ReplaceError {
    pub step: &'static str,
    pub path: PathBuf,
    pub cause: io::Error,
}

/// Replaces a file as a whole or not at all. After this returns, the new text survives a loss of power.
pub fn replace(path: &Path, text: &[u8]) -> Result<(), ReplaceError> {
    stage(path, text, PUBLIC)?;
    settle(path)
}

/// The same for what nobody but the owner may read, from its first byte on.
pub fn replace_secret(path: &Path, text: &[u8]) -> Result<(), ReplaceError> {
    stage(path, text, SECRET)?;
    settle(path)
}

/// Before the umask, as every program does it.
const PUBLIC: u32 = 0o666;
/// For [`stage`]: the owner's alone.
pub const SECRET: u32 = 0o600;

/// The first half of replacing: the new text, on the disk under the name that [`staged`] tells.
pub fn stage(path: &Path, text: &[u8], mode: u32) -> Result<(), ReplaceError> {
    let temporary = staged(path);
    fill(&temporary, text, mode).map_err(|cause| {
        // Nothing is lost with it, and nothing can be done if this fails too.
        let _ = fs::remove_file(&temporary);
        ReplaceError { step: "write", path: temporary.clone(), cause }
    })
}

/// The second half: what was staged is the file now.
pub fn settle(path: &Path) -> Result<(), ReplaceError> {
    let temporary = staged(path);
    fs::rename(&temporary, path).map_err(|cause| {
        let _ = fs::remove_file(&temporary);
        ReplaceError { step: "replace", path: path.to_owned(), cause }
    })?;
    let directory = path.parent().unwrap_or(path);
    // The new name is durable once the directory is (rename(2), fsync(2)).
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|cause| ReplaceError { step: "sync", path: directory.to_owned(), cause })
}

/// Where a new text stands until it replaces the file.
pub fn staged(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.parent().unwrap_or(path).join(format!(".{name}.new"))
}

fn fill(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    // What a killed run left behind may be a link to somewhere else: never written through.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
