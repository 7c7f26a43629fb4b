//! TCP segments of no connection: dropped while a flood lasts, and only then.
//!
//! The kernel's own table of sockets is what knows the connections, so an open one always passes. Outside of an attack an
//! orphan is worth an answer: the reset tells a peer that its connection is gone. Then one segment of 64 is looked up all
//! the same, so that userspace sees a flood of orphans begin. The resets that the kernel sends (`TcpOutRsts`) would cost
//! nothing, but there are none for a flood of resets, and they are not told apart by application, or from the host's own.

use aya_ebpf::{helpers::generated::bpf_tcp_check_syncookie, programs::XdpContext};
use spectrum_common::{
    layout::{Orphans, mode},
    limits,
};

use crate::{
    cookie::{IP_BYTES, TCP_BYTES},
    maps::{MODE, ORPHANS},
    parse::Packet,
    sockets::{self, Socket},
};

/// Whether a segment to an application is to be dropped as one of no connection.
#[inline(always)]
pub(crate) fn is_refused(ctx: &XdpContext, packet: &Packet, app: u32) -> bool {
    if !packet.flags.is_other() {
        return false;
    }
    let refused = are_refused();
    let sample = sample(app);
    if !refused && sample.is_none() || !is_one(ctx, packet) {
        return false;
    }
    if let Some(orphans) = sample {
        // SAFETY: as in `sample`.
        unsafe { (*orphans).found += 1 };
    }
    refused
}

/// Counts a segment; where to count that it is an orphan, if it is one of those that are looked at.
#[inline(always)]
fn sample(app: u32) -> Option<*mut Orphans> {
    let orphans = ORPHANS.get_ptr_mut(app)?;
    // SAFETY: the map returned it, and this CPU's slot has no other writer while the program runs.
    let segments = unsafe { &mut (*orphans).segments };
    *segments += 1;
    segments.is_multiple_of(limits::ORPHAN_STRIDE).then_some(orphans)
}

#[inline(always)]
fn is_one(ctx: &XdpContext, packet: &Packet) -> bool {
    if sockets::has_connection(ctx, packet) {
        return false;
    }
    // Without a daemon there is nobody for whom to refuse.
    let Some(socket) = Socket::of_daemon() else { return false };
    !acknowledges_cookie(ctx, packet, &socket)
}

#[inline(always)]
fn are_refused() -> bool {
    MODE.get(0).is_some_and(|bits| *bits & mode::REFUSE_ORPHANS != 0)
}

/// Whether the segment acknowledges a cookie of ours: then it makes a connection.
#[inline(always)]
fn acknowledges_cookie(ctx: &XdpContext, packet: &Packet, socket: &Socket) -> bool {
    // What XDP does not answer has no cookie of it, but perhaps one of the kernel's.
    let Some((network, transport)) = packet.headers(ctx) else { return true };
    let end = ctx.data_end();
    if network + IP_BYTES as usize > end || transport + TCP_BYTES as usize > end {
        return false;
    }
    // SAFETY: both headers lie within the packet, as just checked, and the socket is held.
    let checked = unsafe {
        bpf_tcp_check_syncookie(socket.as_ptr().cast(), network as *mut _, IP_BYTES, transport as *mut _, TCP_BYTES)
    };
    checked == 0
}
