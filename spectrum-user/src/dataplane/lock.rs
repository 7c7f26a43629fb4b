//! One daemon per instance: a lock that says who holds it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use crate::model::Instance;

/// Runtime files: locks and control sockets.
pub const RUN_DIRECTORY: &str = "/run/spectrum";

/// Held as long as the value lives; the kernel releases it however the process ends.
///
/// It belongs to the open file (flock(2)) and not to the process: another one that is given a descriptor of it holds it
/// too, and there is no moment in which nobody does.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    /// Whether the file goes with this value.
    ours: bool,
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
            let mut file = file;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let holder = holder.lines().next().unwrap_or("unknown").to_owned();
                    return Err(LockError::Held { instance: instance.clone(), holder });
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            // The last holder removes the file: what was locked may be one that nobody else can see.
            if !is_same(&file, &path) {
                continue;
            }
            take_away_socket(&mut file);
            write(&file, None).map_err(io)?;
            return Ok(Self { path, file, ours: true });
        }
    }

    /// Holds it together with the process that gave this descriptor away, until that one lets go. Its file stays the
    /// other's until [`Lock::announce`].
    pub fn share(instance: &Instance, descriptor: OwnedFd) -> Result<Self, LockError> {
        let (path, file) = (path(instance), File::from(descriptor));
        if !is_same(&file, &path) {
            let source = io::Error::other("what the process before gave away is not the lock of this instance");
            return Err(LockError::Io { path, source });
        }
        Ok(Self { path, file, ours: false })
    }

    /// Another descriptor of it, for [`Lock::share`] in another process.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Says where the holder can be asked, for [`control_socket`]. The file goes with this value from now on.
    pub fn announce(&mut self, socket: &Path) -> Result<(), LockError> {
        write(&self.file, Some(socket)).map_err(|source| LockError::Io { path: self.path.clone(), source })?;
        self.ours = true;
        Ok(())
    }

    /// Lets go without taking the file away: another process holds it too.
    pub fn leave(mut self) {
        self.ours = false;
    }
}

/// Whoever reads meanwhile finds the lines of before or the new ones, whole.
fn write(file: &File, socket: Option<&Path>) -> io::Result<()> {
    let socket = socket.map(|socket| format!("{}\n", socket.display())).unwrap_or_default();
    let text = format!("{}\n{socket}", std::process::id());
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(RUN_DIRECTORY);
    }
}

/// Where the daemon of an instance can be asked, if one runs and has said so.
pub fn control_socket(instance: &Instance) -> Option<PathBuf> {
    let text = fs::read_to_string(path(instance)).ok()?;
    text.lines().nth(1).map(PathBuf::from)
}

/// Where a control socket waits until it takes its place.
pub fn fresh_socket(socket: &Path) -> PathBuf {
    let mut name = socket.to_owned().into_os_string();
    name.push(".new");
    name.into()
}

/// The control socket of the last holder: still there where that was killed, and nobody answers on it.
fn take_away_socket(lock: &mut File) {
    let mut text = String::new();
    if lock.read_to_string(&mut text).is_err() {
        return;
    }
    let Some(socket) = text.lines().nth(1).map(Path::new) else { return };
    for socket in [socket, &fresh_socket(socket)] {
        if fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
            let _ = fs::remove_file(socket);
        }
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
