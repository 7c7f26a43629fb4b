//! Keeps assignments over restarts: `edge-ips.json` in the state directory, replaced as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::assignments::Assignments;

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot read the assigned edge addresses in {path}: {cause}")]
    Read { path: PathBuf, cause: io::Error },
    #[error(
        "{path} does not hold assigned edge addresses ({why}); restore it from a backup, or remove it and every hostname \
         with dynamic edge_ips is assigned addresses anew"
    )]
    Corrupt { path: PathBuf, why: String },
    #[error("{path} was written by a newer program (version {version}); use that program, or remove the file")]
    Newer { path: PathBuf, version: u32 },
    #[error(
        "cannot {step} {path}: {cause}; dynamic edge addresses are kept there, make it writable or set `state_dir` of \
         [node] to a directory that is"
    )]
    Write { step: &'static str, path: PathBuf, cause: io::Error },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    hostnames: Assignments,
}

/// Where the assignments of a state directory are.
fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("edge-ips.json")
}

/// None were made where there is no file.
pub(super) fn read(state_dir: &Path) -> Result<Assignments, StoreError> {
    let path = path(state_dir);
    let mut text = Vec::new();
    let result = File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text));
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Assignments::default()),
        Err(cause) => return Err(StoreError::Read { path, cause }),
        Ok(_) if text.len() as u64 > LARGEST => {
            return Err(StoreError::Corrupt { path, why: format!("it is larger than {} MiB", LARGEST >> 20) });
        }
        Ok(_) => {}
    }
    // The version first: what a newer program writes need not have this shape.
    let version = serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|any| any.get("version")?.as_u64());
    if let Some(version) = version.and_then(|version| u32::try_from(version).ok()).filter(|version| *version > VERSION)
    {
        return Err(StoreError::Newer { path, version });
    }
    match serde_json::from_slice::<Document>(&text) {
        Ok(document) => Ok(document.hostnames),
        Err(error) => Err(StoreError::Corrupt { path, why: error.to_string() }),
    }
}

/// Replaces what is there. After this returns, the new assignments survive a loss of power.
pub(super) fn write(state_dir: &Path, assignments: &Assignments) -> Result<(), StoreError> {
    let path = path(state_dir);
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |cause| StoreError::Write { step, path, cause }
    };
    let document = Document { version: VERSION, hostnames: assignments.clone() };
    let mut text = serde_json::to_vec_pretty(&document).map_err(io::Error::from).map_err(failed("encode", &path))?;
    text.push(b'\n');
    fs::create_dir_all(state_dir).map_err(failed("create", state_dir))?;
    replace_file(&path, &text).map_err(|ReplaceError { step, path, cause }| StoreError::Write { step, path, cause })
}

/// A file that could not be replaced: the one before is still there.
#[derive(Debug)]
pub struct ReplaceError {
    pub step: &'static str,
    pub path: PathBuf,
    pub cause: io::Error,
}

/// Replaces a file as a whole or not at all. After this returns, the new text survives a loss of power.
pub fn replace_file(path: &Path, text: &[u8]) -> Result<(), ReplaceError> {
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

const VERSION: u32 = 1;
/// 2048 hostnames with both addresses are less than one.
const LARGEST: u64 = 8 << 20;
