//! A new connection with one small message each way, without ever waiting: connect, ask, read the answer.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::{MESSAGE, connect};

pub(crate) struct Exchange {
    stream: TcpStream,
    asked: bool,
    answered: usize,
}

/// A connection that is brought on its way whenever there is news of it.
pub(crate) trait Advance {
    /// Does what can be done now.
    fn advance(&mut self) -> io::Result<Step>;
}

/// What has just come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// The handshake was done, and the question asked.
    Asked,
    /// The whole answer is there.
    Answered,
}

impl Exchange {
    /// Begins to connect; `epoll` says under `key` when there is something to do.
    pub(crate) fn begin(from: IpAddr, to: SocketAddr, epoll: &Epoll, key: u64) -> io::Result<Self> {
        let stream = connect::begin(from, to)?;
        // Edge-triggered: one registration serves the connect, the answer and the end.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&stream, EpollEvent::new(flags, key))?;
        Ok(Self { stream, asked: false, answered: 0 })
    }
}

impl Advance for Exchange {
    fn advance(&mut self) -> io::Result<Step> {
        let moved = if self.asked { self.stream.read(&mut [0; MESSAGE]) } else { self.stream.write(&[b'?'; MESSAGE]) };
        match moved {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::Nothing),
            Err(error) => Err(error),
            // The answer makes an event of its own.
            Ok(MESSAGE) if !self.asked => {
                self.asked = true;
                Ok(Step::Asked)
            }
            Ok(_) if !self.asked => Err(io::Error::other("a small request was cut")),
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.answered += read;
                Ok(if self.answered >= MESSAGE { Step::Answered } else { Step::Nothing })
            }
        }
    }
}
