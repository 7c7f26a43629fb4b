//! A pair of sockets that carries words and descriptors, each word whole.

use std::{
    env,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _},
    os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use nix::{
    cmsg_space,
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{
            AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, getsockopt,
            recvmsg, sendmsg, socketpair, sockopt,
        },
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{Interest, unix::AsyncFd};

use super::VARIABLE;

/// The kernel's own limit for one message (`SCM_MAX_FD`, include/net/scm.h).
const MOST_DESCRIPTORS: usize = 253;
/// Words are short: what is long travels in a file of its own.
const LARGEST: usize = 64 << 10;
/// What such a file may hold: thousands of rules are less.
const LARGEST_FILE: u64 = 64 << 20;

/// One end.
#[derive(Debug)]
pub struct Channel(AsyncFd<OwnedFd>);

/// What came.
#[derive(Debug)]
pub struct Received<T> {
    pub word: T,
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// This end, and the other one, which a child inherits only where it is told to.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        Ok((Self::new(ours)?, theirs))
    }

    /// The end that a predecessor left to this process, if there is one.
    pub fn inherited() -> io::Result<Option<Self>> {
        let Some(number) = env::var_os(VARIABLE) else { return Ok(None) };
        let number: Option<RawFd> = number.to_str().and_then(|number| number.parse().ok());
        let number = number.filter(|number| *number > libc::STDERR_FILENO).ok_or_else(no_channel)?;
        // SAFETY: checked next to be open and a socket of this kind, which nothing else of a fresh process is.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        if getsockopt(&borrowed, sockopt::SockType).ok() != Some(SockType::SeqPacket) {
            return Err(no_channel());
        }
        // SAFETY: it was left to this process by exec, and nothing here has asked for it before.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        nix::fcntl::fcntl(&descriptor, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        Self::new(descriptor).map(Some)
    }

    /// The end that a descriptor is.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: an owned descriptor stays open until it is dropped.
        Ok(Self(unsafe { AsyncFd::register(descriptor) }?))
    }

    /// Sends a word. It fails where the other side has gone, or does not read.
    pub fn send(&self, word: &impl Serialize) -> io::Result<()> {
        self.send_with(word, &[])
    }

    /// As [`Self::send`], with descriptors.
    pub fn send_with(&self, word: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(word)?;
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if numbers.is_empty() { &[][..] } else { &rights[..] };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<UnixAddr>(self.0.as_raw_fd(), &[IoSlice::new(&text)], rights, flags, None)?;
        Ok(())
    }

    /// The next word. None: the other side has gone. Cancel safe.
    pub async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<Received<T>>> {
        let (text, descriptors) = self.0.async_io(Interest::READABLE, |socket| take(socket.as_fd())).await?;
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some(Received { word: serde_json::from_slice(&text)?, descriptors }))
    }

    /// Another descriptor of this end.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.get_ref().try_clone()
    }

    /// What the other end of a fresh pair has sent as it is.
    pub(super) fn receive_raw(&self) -> io::Result<Vec<u8>> {
        Ok(take(self.0.as_fd())?.0)
    }
}

/// Descriptors of one message at the most; more go in several.
pub(super) const fn most_descriptors() -> usize {
    MOST_DESCRIPTORS
}

fn no_channel() -> io::Error {
    io::Error::other(format!("{VARIABLE} does not name a channel to a predecessor: unset it"))
}

fn take(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut text = vec![0; LARGEST];
    let mut control = cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
        // It has ended with words of ours unread.
        Err(nix::Error::ECONNRESET) => return Ok((Vec::new(), Vec::new())),
        received => received?,
    };
    let (length, cut) = (received.bytes, received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC));
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // SAFETY: the kernel has just made them for this process, and nobody else knows their numbers.
            descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    if cut {
        return Err(io::Error::other("a word of the other process is too long, or descriptors were left out"));
    }
    text.truncate(length);
    Ok((text, descriptors))
}

/// What is too long for a word, as a file in memory.
pub(super) fn enclose(content: &impl Serialize) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"spectrum-estate", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(content)?)?;
    Ok(file.into())
}

pub(super) fn disclose<T: DeserializeOwned>(file: OwnedFd) -> io::Result<T> {
    let (mut file, mut text) = (File::from(file), Vec::new());
    file.rewind()?;
    file.take(LARGEST_FILE).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
