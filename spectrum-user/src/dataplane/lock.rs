//! One daemon per instance: a lock that says who holds it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use crate::model::Instance;

/// Runtime files: locks and control sockets.
pub const RUN_DIRECTORY: &str = "/run/spectrum";

/// Held as long as the value lives; the kernel releases it however the process ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Flock<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "instance `{instance}` is in the hands of process {holder}: stop it first, or give this one another `instance` in a network namespace of its own"
    )]
    Held { instance: Instance, holder: String },
    #[error("lock {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Lock {
    pub fn acquire(instance: &Instance) -> Result<Self, LockError> {
        let path = path(instance);
        let io = |source| LockError::Io { path: path.clone(), source };
        fs::create_dir_all(RUN_DIRECTORY).map_err(io)?;
        loop {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((mut file, nix::Error::EWOULDBLOCK)) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let holder = holder.lines().next().unwrap_or("unknown").to_owned();
                    return Err(LockError::Held { instance: instance.clone(), holder });
                }
                Err((_, error)) => return Err(io(error.into())),
            };
            // The last holder removes the file: what was locked may be one that nobody else can see.
            if !is_same(&file, &path) {
                continue;
            }
            take_away_socket(&mut file);
            file.set_len(0).map_err(io)?;
            file.rewind().map_err(io)?;
            writeln!(file, "{}", std::process::id()).map_err(io)?;
            return Ok(Self { path, file });
        }
    }

    /// Says where the holder can be asked, for [`control_socket`].
    pub fn announce(&mut self, socket: &Path) -> Result<(), LockError> {
        writeln!(self.file, "{}", socket.display()).map_err(|source| LockError::Io { path: self.path.clone(), source })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(RUN_DIRECTORY);
    }
}

/// Where the daemon of an instance can be asked, if one runs and has said so.
pub fn control_socket(instance: &Instance) -> Option<PathBuf> {
    let text = fs::read_to_string(path(instance)).ok()?;
    text.lines().nth(1).map(PathBuf::from)
}

/// The control socket of the last holder: still there where that was killed, and nobody answers on it.
fn take_away_socket(lock: &mut File) {
    let mut text = String::new();
    if lock.read_to_string(&mut text).is_err() {
        return;
    }
    let Some(socket) = text.lines().nth(1) else { return };
    if fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
        let _ = fs::remove_file(socket);
    }
}

fn path(instance: &Instance) -> PathBuf {
    Path::new(RUN_DIRECTORY).join(format!("{instance}.lock"))
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(locked), Ok(seen)) => locked.ino() == seen.ino() && locked.dev() == seen.dev(),
        _ => false,
    }
}
