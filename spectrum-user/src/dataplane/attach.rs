//! Programs onto interfaces and into the network namespace, by links that live as long as their pins.
//!
//! A link that is pinned already is adopted: its program is replaced atomically, so that filtering never pauses.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, XdpMode as AyaMode,
    links::{FdLink, LinkError},
    loaded_programs,
};

use super::{
    load::{LoadError, Loaded},
    netlink::{AttachedMode, Interface, InterfaceXdp, Netlink, NetlinkError},
    pins::Pins,
    sys::{self, LinkTarget},
};
use crate::model::XdpMode;

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("there is no interface `{name}`; there are {}", .existing.join(", "))]
    NoInterface { name: String, existing: Vec<String> },
    #[error(
        "`{interface}` already has an XDP program, `{program}` (id {id}), that is not ours; take it off first: ip link set dev {interface} xdp off"
    )]
    Occupied { interface: String, program: String, id: u32 },
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

/// An interface that the XDP program sits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    pub interface: String,
    pub mode: AttachedMode,
    /// Why this mode and not the better one, where there is something to say.
    pub degraded: Option<String>,
}

/// Brings the XDP program onto exactly `interfaces`.
pub async fn xdp(
    loaded: &mut Loaded,
    pins: &Pins,
    netlink: &Netlink,
    interfaces: &[String],
    mode: XdpMode,
) -> Result<Vec<AttachedXdp>, AttachError> {
    let wanted: &[String] = if mode == XdpMode::Off { &[] } else { interfaces };
    // All of them are looked at before any is touched.
    let mut found = Vec::new();
    for name in wanted {
        let interface = find(netlink, name).await?;
        check_free(&interface, pins)?;
        found.push(interface);
    }
    for (interface, pin) in pins.xdp_links() {
        if !wanted.contains(&interface) {
            detach(&pin)?;
        }
    }
    let mut attached = Vec::new();
    for interface in found {
        attached.push(attach_to(loaded, pins, netlink, &interface, mode).await?);
    }
    Ok(attached)
}

/// Brings the XDP program back onto those of `interfaces` that were recreated under their name. Returns those it
/// attached to; one that is gone is waited for, until its next event.
pub async fn follow(
    loaded: &mut Loaded,
    pins: &Pins,
    netlink: &Netlink,
    interfaces: &[String],
    mode: XdpMode,
) -> Result<Vec<AttachedXdp>, AttachError> {
    let mut attached = Vec::new();
    if mode == XdpMode::Off {
        return Ok(attached);
    }
    let present = netlink.interfaces().await?;
    for interface in present.iter().filter(|interface| interfaces.contains(&interface.name)) {
        let link = pinned(&pins.xdp_link(&interface.name))?;
        if link.is_some_and(|link| is_current(&link, interface, mode)) {
            continue;
        }
        check_free(interface, pins)?;
        attached.push(attach_to(loaded, pins, netlink, interface, mode).await?);
    }
    Ok(attached)
}

async fn attach_to(
    loaded: &mut Loaded,
    pins: &Pins,
    netlink: &Netlink,
    interface: &Interface,
    mode: XdpMode,
) -> Result<AttachedXdp, AttachError> {
    let degraded = one(loaded, pins, interface, mode)?;
    let mode = find(netlink, &interface.name).await?.xdp.map_or(AttachedMode::Other, |xdp| xdp.mode);
    Ok(AttachedXdp { interface: interface.name.clone(), mode, degraded })
}

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

async fn find(netlink: &Netlink, name: &str) -> Result<Interface, AttachError> {
    let interfaces = netlink.interfaces().await?;
    let existing = interfaces.iter().map(|interface| interface.name.clone()).collect();
    interfaces
        .into_iter()
        .find(|interface| interface.name == name)
        .ok_or_else(|| AttachError::NoInterface { name: name.to_owned(), existing })
}

/// Refuses an interface with somebody else's program: it is never replaced, never detached.
fn check_free(interface: &Interface, pins: &Pins) -> Result<(), AttachError> {
    let Some(InterfaceXdp { program_id, .. }) = interface.xdp else { return Ok(()) };
    let ours = pinned(&pins.xdp_link(&interface.name))?
        .and_then(|link| sys::link(&link).ok())
        .is_some_and(|link| link.program_id == program_id);
    if ours {
        return Ok(());
    }
    let program = loaded_programs()
        .flatten()
        .find(|program| program.id() == program_id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "unnamed".to_owned());
    Err(AttachError::Occupied { interface: interface.name.clone(), program, id: program_id })
}

/// Attaches to one interface, or adopts its link. Says why the mode is not the best one, if it is not.
fn one(loaded: &mut Loaded, pins: &Pins, interface: &Interface, mode: XdpMode) -> Result<Option<String>, AttachError> {
    let path = pins.xdp_link(&interface.name);
    if let Some(link) = pinned(&path)? {
        if is_current(&link, interface, mode) {
            let error = |source| AttachError::Xdp { interface: interface.name.clone(), source };
            let program = loaded.xdp()?.fd().map_err(error)?.as_fd();
            sys::update_link(&link, program).map_err(|source| AttachError::Adopt { path, source })?;
            return Ok(None);
        }
        // The interface was recreated under the same name, or another mode is asked for.
        drop(link);
        detach(&path)?;
    }
    let (link, degraded) = attach(loaded, interface, mode)?;
    pin(link, path)?;
    Ok(degraded)
}

fn is_current(link: &OwnedFd, interface: &Interface, mode: XdpMode) -> bool {
    let here = sys::link(link).is_ok_and(|link| link.target == LinkTarget::Interface { index: interface.index });
    let attached = interface.xdp.map(|xdp| xdp.mode);
    let mode_fits = match mode {
        XdpMode::Native => attached == Some(AttachedMode::Native),
        XdpMode::Generic => attached == Some(AttachedMode::Generic),
        XdpMode::Auto => attached.is_some(),
        XdpMode::Off => false,
    };
    here && mode_fits
}

fn attach(loaded: &mut Loaded, interface: &Interface, mode: XdpMode) -> Result<(FdLink, Option<String>), AttachError> {
    if mode == XdpMode::Generic {
        return Ok((attach_as(loaded, interface, AyaMode::Skb)?, None));
    }
    match attach_as(loaded, interface, AyaMode::Driver) {
        Ok(link) => Ok((link, None)),
        Err(AttachError::Xdp { source, .. }) if mode == XdpMode::Native => {
            Err(AttachError::NotNative { interface: interface.name.clone(), source })
        }
        Err(AttachError::Xdp { source, .. }) => {
            let why = format!("the driver takes no native program ({})", deepest(&source));
            Ok((attach_as(loaded, interface, AyaMode::Skb)?, Some(why)))
        }
        Err(error) => Err(error),
    }
}

fn attach_as(loaded: &mut Loaded, interface: &Interface, mode: AyaMode) -> Result<FdLink, AttachError> {
    let error = |source| AttachError::Xdp { interface: interface.name.clone(), source };
    let program = loaded.xdp()?;
    let id = program.attach_to_if_index(interface.index, mode).map_err(error)?;
    let link = program.take_link(id).map_err(error)?;
    FdLink::try_from(link).map_err(|source: LinkError| error(ProgramError::IOError(io::Error::other(source))))
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

/// The innermost cause: what the kernel said.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
