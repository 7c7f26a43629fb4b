//! The XDP program, on the interfaces that a node names. Somebody else's program is never replaced, never detached.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::programs::{
    ProgramError, XdpMode as AyaMode,
    links::{FdLink, LinkError},
    loaded_programs,
};

use super::{AttachError, detach, pin, pinned};
use crate::{
    dataplane::{
        load::Loaded,
        netlink::{AttachedMode, Framing, Interface, InterfaceXdp, Netlink},
        pins::Pins,
        sys::{self, LinkTarget},
    },
    model::{Filter, XdpMode},
};

/// An interface that the XDP program sits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    pub interface: String,
    pub mode: AttachedMode,
    /// Why this mode and not the better one, where there is something to say.
    degraded: Option<String>,
}

impl AttachedXdp {
    /// What is not as good as it could be, in words.
    pub fn shortfall(&self) -> Option<String> {
        let why = self.degraded.as_ref()?;
        Some(format!("generic XDP on {}: {why}", self.interface))
    }
}

/// What it takes to filter: the program, where its links are pinned, and where it should be.
pub struct Filtering<'a> {
    pub loaded: &'a mut Loaded,
    pub pins: &'a Pins,
    pub netlink: &'a Netlink,
    pub filter: &'a Filter,
}

impl Filtering<'_> {
    /// Brings the program onto exactly the interfaces of the filter.
    pub async fn attach(mut self) -> Result<Vec<AttachedXdp>, AttachError> {
        let wanted = self.filter.wanted();
        // All of them are looked at before any is touched.
        let mut found = Vec::new();
        for name in wanted {
            let interface = find(self.netlink, name).await?;
            check_readable(&interface)?;
            check_free(&interface, self.pins)?;
            found.push(interface);
        }
        for (interface, pin) in self.pins.xdp_links() {
            if !wanted.contains(&interface) {
                detach(&pin)?;
            }
        }
        let mut attached = Vec::new();
        for interface in found {
            attached.push(self.attach_to(&interface).await?);
        }
        Ok(attached)
    }

    /// Brings the program back onto those interfaces that were recreated under their name. Returns those it attached
    /// to; one that is gone is waited for, until its next event.
    pub async fn follow(mut self) -> Result<Vec<AttachedXdp>, AttachError> {
        let mut attached = Vec::new();
        let wanted = self.filter.wanted();
        if wanted.is_empty() {
            return Ok(attached);
        }
        let present = self.netlink.interfaces().await?;
        for interface in present.iter().filter(|interface| wanted.contains(&interface.name)) {
            let link = pinned(&self.pins.xdp_link(&interface.name))?;
            if link.is_some_and(|link| is_current(&link, interface, self.filter.mode)) {
                continue;
            }
            check_readable(interface)?;
            check_free(interface, self.pins)?;
            attached.push(self.attach_to(interface).await?);
        }
        Ok(attached)
    }

    async fn attach_to(&mut self, interface: &Interface) -> Result<AttachedXdp, AttachError> {
        let degraded = attach_or_adopt(self.loaded, self.pins, interface, self.filter.mode)?;
        let mode = find(self.netlink, &interface.name).await?.xdp.map_or(AttachedMode::Other, |xdp| xdp.mode);
        Ok(AttachedXdp { interface: interface.name.clone(), mode, degraded })
    }
}

/// Attaches to one interface, or adopts its link. Says why the mode is not the best one, if it is not.
fn attach_or_adopt(
    loaded: &mut Loaded,
    pins: &Pins,
    interface: &Interface,
    mode: XdpMode,
) -> Result<Option<String>, AttachError> {
    let path = pins.xdp_link(&interface.name);
    if let Some(link) = pinned(&path)? {
        if is_current(&link, interface, mode) {
            let error = |source| AttachError::Xdp { interface: interface.name.clone(), source };
            let program = loaded.xdp()?.fd().map_err(error)?.as_fd();
            sys::update_link(&link, program).map_err(|source| AttachError::Adopt { path, source })?;
            let is_generic = interface.xdp.is_some_and(|xdp| xdp.mode == AttachedMode::Generic);
            // To find out whether the driver would take a native one now, filtering would have to pause.
            let as_before = "it was attached so before; after `spectrum unload` a start tries native again";
            return Ok((mode == XdpMode::Auto && is_generic).then(|| as_before.to_owned()));
        }
        // The interface was recreated under the same name, or another mode is asked for.
        drop(link);
        detach(&path)?;
    }
    let (link, degraded) = attach_new(loaded, interface, mode)?;
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

fn attach_new(
    loaded: &mut Loaded,
    interface: &Interface,
    mode: XdpMode,
) -> Result<(FdLink, Option<String>), AttachError> {
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

async fn find(netlink: &Netlink, name: &str) -> Result<Interface, AttachError> {
    let interfaces = netlink.interfaces().await?;
    let existing = interfaces.iter().map(|interface| interface.name.clone()).collect();
    interfaces
        .into_iter()
        .find(|interface| interface.name == name)
        .ok_or_else(|| AttachError::NoInterface { name: name.to_owned(), existing })
}

/// Refuses an interface whose frames the program would take for something else: it would let all of them pass.
fn check_readable(interface: &Interface) -> Result<(), AttachError> {
    match interface.framing {
        Framing::Ethernet => Ok(()),
        Framing::Other(framing) => Err(AttachError::NoEthernet { interface: interface.name.clone(), framing }),
    }
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

/// The innermost cause: what the kernel said.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
