//! The words, and the things that go with them. A change that an older process would take for something else is a new
//! [`VERSION`]: then the two part in words, and the older one goes on.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Channel, Received,
    channel::{disclose, enclose, most_descriptors},
};

/// Of these words.
pub const VERSION: u32 = 1;

/// What a successor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSuccessor {
    Hello {
        /// [`VERSION`].
        version: u32,
        /// Of the program.
        program: String,
    },
    /// It is about to change maps, routes and links.
    Changing,
    /// All of that is done.
    Ready,
    /// It accepts, and answers on the control socket.
    Serving { pid: u32 },
    /// Why it cannot. It ends.
    Failed {
        why: String,
        /// What is wrong with a file, place by place.
        report: Option<String>,
    },
}

/// What a predecessor says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromPredecessor {
    /// What the descriptors of this message are, in their order; `more`: others follow.
    Take {
        items: Vec<Item>,
        more: bool,
    },
    /// It accepts no more, and changes nothing.
    Go,
    Yours(Shield),
    /// The service manager knows who is who.
    Known,
    /// It drains, with so many connections left.
    Draining {
        connections: u64,
    },
}

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    Lock,
    Listener,
    /// The listener for metrics.
    Metrics(SocketAddr),
    /// A file with [`Notes`].
    Notes,
    /// The channel to a process that drains, and which that is.
    Draining(u32),
}

/// What there is to take over, beside sockets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    pub pid: u32,
    pub program: String,
    pub instance: String,
    /// Rules that it made by itself, as `rules` writes them.
    pub auto_rules: Value,
    /// Whom the file may not cut off.
    pub operators: Operators,
    /// Origins that are left out.
    pub down: Vec<Down>,
}

/// An origin as `status` calls it, of an application by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    pub application: String,
    pub origin: String,
}

/// Who asked for an upgrade; nobody, where it is to be done in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operators {
    pub addresses: Vec<IpAddr>,
    /// They asked. Else they are logged in, and nobody is known to have asked.
    pub asked: bool,
    /// Zones, by their ids, in which an address is blocked already.
    pub blocked: Vec<(String, IpAddr)>,
}

/// What it knows of floods when it lets go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shield {
    /// Applications under a flood of SYNs, and of orphans.
    pub syn: Vec<String>,
    pub orphans: Vec<String>,
    /// Whether the protected mode is on, and the sysctl for timestamps.
    pub protected: bool,
    pub timestamps: bool,
    /// What the kernel programs were told.
    pub refuse_orphans: bool,
    pub answer_scale: Option<u8>,
}

/// Everything that one process leaves to the next.
#[derive(Debug, Default)]
pub struct Estate {
    pub lock: Option<OwnedFd>,
    pub listeners: Vec<OwnedFd>,
    pub metrics: Option<(SocketAddr, OwnedFd)>,
    pub draining: Vec<(u32, OwnedFd)>,
    pub notes: Notes,
}

impl Estate {
    /// Gives everything away, in as many words as it takes.
    pub fn send(&self, channel: &Channel) -> io::Result<()> {
        let notes = enclose(&self.notes)?;
        let mut items: Vec<(Item, BorrowedFd<'_>)> = vec![(Item::Notes, notes.as_fd())];
        items.extend(self.lock.iter().map(|lock| (Item::Lock, lock.as_fd())));
        items.extend(self.listeners.iter().map(|listener| (Item::Listener, listener.as_fd())));
        items.extend(self.metrics.iter().map(|(address, listener)| (Item::Metrics(*address), listener.as_fd())));
        items.extend(self.draining.iter().map(|(pid, channel)| (Item::Draining(*pid), channel.as_fd())));
        let mut left = items.len();
        for part in items.chunks(most_descriptors()) {
            left -= part.len();
            let (items, descriptors): (Vec<Item>, Vec<BorrowedFd<'_>>) = part.iter().cloned().unzip();
            channel.send_with(&FromPredecessor::Take { items, more: left > 0 }, &descriptors)?;
        }
        Ok(())
    }

    /// Takes what came with one word.
    pub fn take(&mut self, items: Vec<Item>, received: Vec<OwnedFd>) -> io::Result<()> {
        if items.len() != received.len() {
            return Err(io::Error::other("the predecessor announces other descriptors than it sends"));
        }
        for (item, descriptor) in items.into_iter().zip(received) {
            match item {
                Item::Lock => self.lock = Some(descriptor),
                Item::Listener => self.listeners.push(descriptor),
                Item::Metrics(address) => self.metrics = Some((address, descriptor)),
                Item::Draining(pid) => self.draining.push((pid, descriptor)),
                Item::Notes => self.notes = disclose(descriptor)?,
            }
        }
        Ok(())
    }

    /// Waits for all of it. None: the predecessor has gone.
    pub async fn receive(channel: &Channel) -> io::Result<Option<Self>> {
        let mut estate = Self::default();
        loop {
            match channel.receive::<FromPredecessor>().await? {
                None => return Ok(None),
                Some(Received { word: FromPredecessor::Take { items, more }, descriptors }) => {
                    estate.take(items, descriptors)?;
                    if !more {
                        return Ok(Some(estate));
                    }
                }
                Some(Received { word, .. }) => {
                    return Err(io::Error::other(format!("the predecessor says {word:?} where it should give")));
                }
            }
        }
    }
}
