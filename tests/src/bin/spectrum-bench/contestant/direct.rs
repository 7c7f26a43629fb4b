//! No proxy: the client's packets are routed through the edge. Also the empty XDP program that stands in front of
//! everything that brings none of its own.
//!
//! XDP changes what a veth pair can do (its peer stops handing over packets larger than the MTU), so every contestant
//! must have a program attached. The peers get the cheapest one there is, two instructions, while Spectrum pays for its
//! own filter: what inequality remains is in the peers' favour.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use super::Running;
use crate::bpf;
use crate::world::{EDGE_DEVICE, Namespace, ORIGIN_V4, ORIGIN_V6, World};

/// An attached program of one answer.
pub(crate) struct EmptyXdp {
    _link: OwnedFd,
}

impl EmptyXdp {
    pub(super) fn attach(world: &World) -> Result<Self> {
        Self::attach_to(&world.edge, EDGE_DEVICE, bpf::XDP_PASS)
    }

    /// A program with this one answer at a device.
    pub(crate) fn attach_to(namespace: &Namespace, device: &str, action: i32) -> Result<Self> {
        Self::attach_program(namespace, device, &bpf::load_constant(action)?)
    }

    /// This program at a device.
    pub(crate) fn attach_program(namespace: &Namespace, device: &str, program: &OwnedFd) -> Result<Self> {
        let link = namespace.run(|| {
            let ifindex = if_nametoindex(device).with_context(|| format!("find the interface {device}"))?;
            bpf::attach_xdp(program.as_fd(), ifindex)
        })?;
        Ok(Self { _link: link })
    }
}

pub(super) fn start(world: &World) -> Result<Running> {
    Ok(Running {
        addresses: [ORIGIN_V4, ORIGIN_V6],
        process: None,
        ends_tls: false,
        _xdp: Some(EmptyXdp::attach(world)?),
    })
}
