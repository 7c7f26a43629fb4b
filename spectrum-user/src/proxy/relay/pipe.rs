//! Pipes for `splice(2)`, lent to a direction while there are bytes in them.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    unistd::pipe2,
};

use crate::listen::{Admission, Permit};

/// Wanted sizes. Without `CAP_SYS_RESOURCE` a user gets `pipe-user-pages-soft` pages in all, and after that EPERM.
const SIZES: [usize; 2] = [1 << 20, 256 << 10];
/// Pipes with less room than this lose against a buffer: past the user's limit the kernel hands out one or two pages.
const SMALLEST: usize = 64 << 10;
/// Free pipes that a thread keeps.
const KEPT: usize = 16;

/// The free pipes of one thread.
#[derive(Debug)]
pub(super) struct Pipes {
    free: RefCell<Vec<Pipe>>,
    admission: Admission,
    told: Cell<bool>,
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
    filled: usize,
    _permit: Permit,
}

impl Pipes {
    pub(super) const fn new(admission: Admission) -> Self {
        Self { free: RefCell::new(Vec::new()), admission, told: Cell::new(false) }
    }

    /// An empty pipe, if there is one to be had: else the caller copies.
    pub(super) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.free.borrow_mut().pop() {
            return Some(pipe);
        }
        let permit = self.admission.enter()?;
        match Pipe::new(permit) {
            Ok(pipe) if pipe.size >= SMALLEST => Some(pipe),
            Ok(_) => {
                self.tell("the user's pages for pipes are used up (fs.pipe-user-pages-soft)");
                None
            }
            Err(error) => {
                self.tell(&error.to_string());
                None
            }
        }
    }

    pub(super) fn give_back(&self, pipe: Pipe) {
        let mut free = self.free.borrow_mut();
        // What still has bytes in it must never serve another connection.
        if pipe.filled == 0 && free.len() < KEPT {
            free.push(pipe);
        }
    }

    fn tell(&self, why: &str) {
        if !self.told.replace(true) {
            log::warn!("some transfers are copied instead of spliced: {why}");
        }
    }
}

impl Pipe {
    fn new(permit: Permit) -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        for size in SIZES {
            let wanted = i32::try_from(size).unwrap_or(i32::MAX);
            if fcntl(&write, FcntlArg::F_SETPIPE_SZ(wanted)).is_ok() {
                break;
            }
        }
        let size = usize::try_from(fcntl(&write, FcntlArg::F_GETPIPE_SZ)?).unwrap_or(0);
        Ok(Self { read, write, size, filled: 0, _permit: permit })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    pub(super) const fn filled(&self) -> usize {
        self.filled
    }

    /// Moves what the socket has into the pipe; 0 is the end of the stream. Only into an empty pipe: then EAGAIN can
    /// only mean that the socket has nothing.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "EAGAIN would be ambiguous");
        let bytes = splice(from, None, &self.write, None, self.size, flags())?;
        self.filled += bytes;
        Ok(bytes)
    }

    /// Moves what is in the pipe into the socket, as far as it takes it.
    ///
    /// A broken socket answers EPIPE and no signal: Rust's runtime ignores SIGPIPE.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let bytes = splice(&self.read, None, to, None, self.filled, flags())?;
        self.filled -= bytes.min(self.filled);
        Ok(bytes)
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_pipe_is_to_be_had_the_caller_is_told() {
        let pipes = Pipes::new(Admission::new(1));
        let only = pipes.take().unwrap();
        assert!(only.size >= SMALLEST, "{}", only.size);
        assert!(pipes.take().is_none());
        pipes.give_back(only);
        assert!(pipes.take().is_some());
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_closed_and_not_kept() {
        let pipes = Pipes::new(Admission::new(1));
        let mut pipe = pipes.take().unwrap();
        nix::unistd::write(&pipe.write, b"of another connection").unwrap();
        pipe.filled = 21;
        pipes.give_back(pipe);
        assert!(pipes.free.borrow().is_empty());
        assert!(pipes.take().is_some(), "its place is free again");
    }
}
