//! Fragments towards applications: what this node does not take, and what only an attack looks like.
//!
//! A later fragment has no ports. On a pool address it can be for an application alone; on an address of the host it may
//! be for anybody, and is never touched (I3).

use aya_ebpf::programs::XdpContext;
use spectrum_common::{
    Reason,
    layout::{PROTOCOL_UDP, SteerValue, steer_flags},
};

use crate::{
    cookie::TCP_BYTES,
    parse::{Family, Packet, Part},
};

/// The verdict on a later fragment for a pool's address.
#[inline(always)]
pub(crate) const fn later(packet: &Packet, owner: &SteerValue) -> Reason {
    let refused = if packet.protocol == PROTOCOL_UDP {
        owner.flags & steer_flags::NO_FRAGMENTS != 0
    } else {
        // It would be put over a header that has been judged already (RFC 1858 3, RFC 3128 2).
        matches!(packet.part, Part::WithinHeader)
    };
    if refused { Reason::Fragment } else { Reason::LaterFragment }
}

/// Whether an application does not take this first fragment.
#[inline(always)]
pub(crate) fn is_refused(ctx: &XdpContext, packet: &Packet, owner: &SteerValue) -> bool {
    if packet.part != Part::First {
        return false;
    }
    if packet.protocol == PROTOCOL_UDP {
        return owner.flags & steer_flags::NO_FRAGMENTS != 0;
    }
    // The rest of the header comes in another fragment: nobody can judge it (RFC 1858 3.1.1).
    !has_whole_header(ctx, packet).unwrap_or(false)
}

/// Whether a TCP header ends where the IP packet does, or before. Not asked of the frame, which may be padded.
#[inline(always)]
fn has_whole_header(ctx: &XdpContext, packet: &Packet) -> Option<bool> {
    let (network, transport) = packet.headers(ctx)?;
    let end = ctx.data_end();
    if network + 8 > end || transport + TCP_BYTES as usize > end {
        return None;
    }
    let (at, beside) = match packet.family {
        Family::V4 => (2, 0),
        // The length of an IPv6 packet leaves out its first header.
        Family::V6 => (4, IPV6_BYTES),
    };
    // SAFETY: within the packet, as just checked.
    let length = usize::from(u16::from_be_bytes(unsafe { *((network + at) as *const [u8; 2]) })) + beside;
    // SAFETY: as above.
    let header = usize::from(unsafe { *((transport + 12) as *const u8) } >> 4) * 4;
    let needs = if header < TCP_BYTES as usize { TCP_BYTES as usize } else { header };
    Some(packet.transport - packet.network + needs <= length)
}

const IPV6_BYTES: usize = 40;
