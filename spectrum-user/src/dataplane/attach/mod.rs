//! Programs onto interfaces and into the network namespace, by links that live as long as their pins.
//!
//! A link that is pinned already is adopted: its program is replaced atomically, so that filtering never pauses.

mod steer;
mod xdp;

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aya::programs::{ProgramError, links::FdLink};
use rtnetlink::packet_route::link::LinkLayerType;

pub use self::{
    steer::{check_here, is_here, steer},
    xdp::{AttachedXdp, Filtering},
};
use super::{load::LoadError, netlink::NetlinkError, sys};

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("there is no interface `{name}`; there are {}", .existing.join(", "))]
    NoInterface { name: String, existing: Vec<String> },
    #[error(
        "`{interface}` already has an XDP program, `{program}` (id {id}), that is not ours; take it off first: ip link set dev {interface} xdp off"
    )]
    Occupied { interface: String, program: String, id: u32 },
    #[error(
        "frames of `{interface}` have no Ethernet header (link type {framing}), so the XDP program cannot read them; leave it out of `interfaces`: what comes in there is served, and access rules act on it at accept"
    )]
    NoEthernet { interface: String, framing: LinkLayerType },
    #[error("the driver of `{interface}` takes no native XDP program; set xdp_mode = \"auto\" or \"generic\"")]
    NotNative {
        interface: String,
        #[source]
        source: ProgramError,
    },
    #[error("attach the XDP program to `{interface}`")]
    Xdp {
        interface: String,
        #[source]
        source: ProgramError,
    },
    #[error("attach the steering program to this network namespace")]
    Steer(#[source] ProgramError),
    #[error(
        "the pins in {pins} belong to another network namespace; run `spectrum unload` there, or give this one another `instance`"
    )]
    OtherNamespace { pins: PathBuf },
    #[error("adopt the link {path}")]
    Adopt {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("pin the link {path}")]
    Pin {
        path: PathBuf,
        #[source]
        source: aya::pin::PinError,
    },
    #[error("look at this thread's network namespace")]
    Namespace(#[source] io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Detaches what is pinned at `path`, at once: another program may take the place.
pub fn detach(path: &Path) -> Result<(), AttachError> {
    // A link whose interface or namespace is gone is detached already.
    let _ = sys::open(path).and_then(sys::detach_link);
    fs::remove_file(path).map_err(|source| AttachError::Adopt { path: path.to_owned(), source })
}

/// The link pinned at `path`, if there is one.
pub fn pinned(path: &Path) -> Result<Option<OwnedFd>, AttachError> {
    match sys::open(path) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AttachError::Adopt { path: path.to_owned(), source }),
    }
}

fn pin(link: FdLink, path: PathBuf) -> Result<(), AttachError> {
    link.pin(&path).map(drop).map_err(|source| AttachError::Pin { path, source })
}
