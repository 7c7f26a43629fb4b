//! Keeps assignments over restarts: `edge-ips.json` in the state directory, replaced as a whole or not at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    assignments::Assignments,
    document::{self, ReplaceError, Unreadable},
};

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
    Newer { path: PathBuf, version: u64 },
    #[error(
        "cannot {step} {path}: {cause}; dynamic edge addresses are kept there, make it writable or set `state_dir` of \
         [node] to a directory that is"
    )]
    Write { step: &'static str, path: PathBuf, cause: io::Error },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    hostnames: Assignments,
}

/// Where the assignments of a state directory are.
fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("edge-ips.json")
}

/// None were made where there is no file.
pub(super) fn read(state_dir: &Path) -> Result<Assignments, StoreError> {
    let path = path(state_dir);
    match document::read::<Document>(&path, VERSION, LARGEST) {
        Ok(document) => Ok(document.hostnames),
        Err(Unreadable::Absent) => Ok(Assignments::default()),
        Err(Unreadable::Io(cause)) => Err(StoreError::Read { path, cause }),
        Err(Unreadable::Newer(version)) => Err(StoreError::Newer { path, version }),
        Err(Unreadable::Corrupt(why)) => Err(StoreError::Corrupt { path, why }),
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
    document::replace(&path, &text).map_err(|ReplaceError { step, path, cause }| StoreError::Write {
        step,
        path,
        cause,
    })
}

const VERSION: u64 = 1;
/// 2048 hostnames with both addresses are less than one.
const LARGEST: u64 = 8 << 20;
