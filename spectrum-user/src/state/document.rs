//! A JSON document with a version, read with a bound and replaced as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
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
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |cause| ReplaceError { step, path, cause }
    };
    let directory = path.parent().unwrap_or(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.new"));
    let written = fill(&temporary, text).map_err(failed("write", &temporary));
    let renamed = written.and_then(|()| fs::rename(&temporary, path).map_err(failed("replace", path)));
    if renamed.is_err() {
        // Nothing is lost with it, and nothing can be done if this fails too.
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    // The new name is durable once the directory is (rename(2), fsync(2)).
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
}

fn fill(path: &Path, text: &[u8]) -> io::Result<()> {
    // What a killed run left behind may be a link to somewhere else: never written through.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
