//! The steering program, in the network namespace of the calling thread.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use super::{AttachError, detach, pin, pinned};
use crate::dataplane::{
    load::Loaded,
    pins::Pins,
    sys::{self, LinkTarget},
};

/// Brings the steering program into the network namespace of this thread.
pub fn steer(loaded: &mut Loaded, pins: &Pins) -> Result<(), AttachError> {
    let path = pins.steer_link();
    let namespace = File::open("/proc/thread-self/ns/net").map_err(AttachError::Namespace)?;
    if let Some(link) = pinned(&path)? {
        if is_dead(&link) {
            drop(link);
            detach(&path)?;
        } else {
            check_namespace(&link, &namespace, pins)?;
            let program = loaded.steer()?.fd().map_err(AttachError::Steer)?.as_fd();
            return sys::update_link(&link, program).map_err(|source| AttachError::Adopt { path, source });
        }
    }
    let program = loaded.steer()?;
    let id = program.attach(namespace).map_err(AttachError::Steer)?;
    let link = program.take_link(id).map_err(AttachError::Steer)?;
    pin(link.into(), path)
}

/// Refuses pins whose steering program sits in another namespace that still exists.
pub fn check_here(pins: &Pins) -> Result<(), AttachError> {
    let namespace = File::open("/proc/thread-self/ns/net").map_err(AttachError::Namespace)?;
    let Some(link) = pinned(&pins.steer_link())? else { return Ok(()) };
    if is_dead(&link) { Ok(()) } else { check_namespace(&link, &namespace, pins) }
}

/// Whether the steering program of these pins sits in the network namespace of this thread.
pub fn is_here(pins: &Pins) -> Result<bool, AttachError> {
    let namespace = File::open("/proc/thread-self/ns/net").map_err(AttachError::Namespace)?;
    let Some(link) = pinned(&pins.steer_link())? else { return Ok(false) };
    Ok(!is_dead(&link) && check_namespace(&link, &namespace, pins).is_ok())
}

/// Whether the namespace that the link was made in is gone.
fn is_dead(link: &OwnedFd) -> bool {
    sys::link(link).is_ok_and(|link| link.target == LinkTarget::Netns { inode: 0 })
}

/// Refuses pins whose steering program sits in another namespace.
fn check_namespace(link: &OwnedFd, namespace: &File, pins: &Pins) -> Result<(), AttachError> {
    let own = namespace.metadata().map_err(AttachError::Namespace)?.ino();
    let link = sys::link(link).map_err(|source| AttachError::Adopt { path: pins.steer_link(), source })?;
    match link.target {
        LinkTarget::Netns { inode } if u64::from(inode) == own => Ok(()),
        _ => Err(AttachError::OtherNamespace { pins: pins.directory().to_owned() }),
    }
}
