//! Starting a successor, and ending it where it must not go on.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    libc,
    unistd::{ForkResult, fork},
};
use tokio::io::unix::AsyncFd;

use super::{Channel, VARIABLE};

/// How this process was started, and can be started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    arguments: Vec<OsString>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot start {path}")]
pub struct StartError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A started process, no child of this one: whoever adopts orphans (the service manager) learns how it ends, also when
/// this process has gone.
#[derive(Debug)]
pub struct Successor {
    pub channel: Channel,
    /// Names this process for good, unlike its number. None: it has ended at once.
    process: Option<OwnedFd>,
    pub pid: u32,
}

impl Program {
    /// To be asked at the start: later `/proc/self/exe` may name a file that has been replaced.
    pub fn own() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let called = arguments.next().map(PathBuf::from);
        // As it was called, where that is a path: it may lead over a link that leads elsewhere after an upgrade.
        let path = match called.filter(|called| called.components().count() > 1) {
            Some(called) => std::path::absolute(called)?,
            None => fs::read_link("/proc/self/exe")?,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }

    /// The same with another file.
    #[must_use]
    pub fn at(&self, path: &Path) -> Self {
        Self { path: path.to_owned(), arguments: self.arguments.clone() }
    }

    /// Starts it with the arguments, the environment and the output of this process.
    pub fn start(&self) -> Result<Successor, StartError> {
        self.try_start().map_err(|source| StartError { path: self.path.clone(), source })
    }

    fn try_start(&self) -> io::Result<Successor> {
        let (channel, theirs) = Channel::pair()?;
        let number = theirs.as_raw_fd();
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(Stdio::null()).env(VARIABLE, number.to_string());
        for variable in ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"] {
            command.env_remove(variable);
        }
        // SAFETY: only async-signal-safe calls between fork and exec: fork, getpid, send, fcntl, _exit.
        unsafe {
            command.pre_exec(move || leave_parent(number));
        }
        // It has come to its exec when this returns, or to an error of it.
        let mut child = command.spawn()?;
        child.wait()?;
        let pid = channel.receive_raw()?;
        let pid = u32::from_ne_bytes(pid.try_into().map_err(|_| io::Error::other("it has no process"))?);
        Ok(Successor { process: open(pid)?, channel, pid })
    }
}

/// In the child: goes on as its child, says which process that is, and keeps the channel over exec.
fn leave_parent(channel: i32) -> io::Result<()> {
    // SAFETY: what follows in the child is the rest of this function, and exec.
    match unsafe { fork() }? {
        // SAFETY: nothing of the parent's is to be tidied up here.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        ForkResult::Child => {}
    }
    let pid = std::process::id().to_ne_bytes();
    // SAFETY: the bytes live on this stack, and the socket is open.
    let sent = unsafe { libc::send(channel, pid.as_ptr().cast(), pid.len(), libc::MSG_NOSIGNAL) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the socket is open; its flags are the only thing that changes.
    if unsafe { libc::fcntl(channel, libc::F_SETFD, 0) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: no pointers; it returns a descriptor or -1.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.cast_signed(), 0) };
    let Some(descriptor) = i32::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0) else {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(error) };
    };
    // SAFETY: the kernel has just made it for this process.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

impl Successor {
    /// Ends it, whatever it does.
    pub fn kill(&self) {
        let Some(process) = &self.process else { return };
        let (process, none) = (process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: the descriptor is open, and the kernel fills in what a null pointer does not say.
        let _ = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, libc::SIGKILL, none, 0) };
    }

    /// Waits until nothing of it runs any more.
    pub async fn ended(&self) -> io::Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        // SAFETY: a borrowed descriptor stays open for as long as it is borrowed.
        let process = unsafe { AsyncFd::register(process.as_fd()) }?;
        process.readable().await.map(drop)
    }
}
