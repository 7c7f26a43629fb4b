//! TCP segments of no connection: dropped while a flood lasts, and only then.
//!
//! The kernel's own table of sockets is what knows the connections, so an open one always passes. Outside of an attack an
//! orphan is worth an answer: the reset tells a peer that its connection is gone.

use aya_ebpf::{helpers::generated::bpf_tcp_check_syncookie, programs::XdpContext};
use spectrum_common::layout::mode;

use crate::{
    cookie::{IP_BYTES, TCP_BYTES},
    maps::MODE,
    parse::Packet,
    sockets::{Socket, anybody_listens},
};

#[inline(always)]
pub(crate) fn is_one(ctx: &XdpContext, packet: &Packet) -> bool {
    if !packet.flags.is_other() || !are_refused() || !anybody_listens() {
        return false;
    }
    let Some(socket) = Socket::of(ctx, packet) else { return true };
    socket.is_listening() && !acknowledges_cookie(ctx, packet, &socket)
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
