//! What the kernel's own table of connections knows of a packet.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{bpf_sk_release, bpf_skc_lookup_tcp},
    programs::XdpContext,
};

use crate::{
    parse::{Family, Packet},
    steering::{destination_port, source_port},
};

/// The interface's own network namespace (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// A listening socket (include/net/tcp_states.h): found where there is no connection, and says nothing of one.
const TCP_LISTEN: u32 = 10;

/// Whether the packet belongs to a TCP connection of this host, opening and closing ones included.
#[inline(always)]
pub(crate) fn has_connection(ctx: &XdpContext, packet: &Packet) -> bool {
    let (sport, dport) = (source_port(packet.ports), destination_port(packet.ports));
    match packet.family {
        Family::V4 => {
            let ([.., saddr], [.., daddr]) = (packet.source, packet.destination);
            let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 { saddr, daddr, sport, dport };
            found(ctx, bpf_sock_tuple__bindgen_ty_1 { ipv4 }, size_of_val(&ipv4))
        }
        Family::V6 => {
            let (saddr, daddr) = (packet.source, packet.destination);
            let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 { saddr, daddr, sport, dport };
            found(ctx, bpf_sock_tuple__bindgen_ty_1 { ipv6 }, size_of_val(&ipv6))
        }
    }
}

#[inline(always)]
fn found(ctx: &XdpContext, tuple: bpf_sock_tuple__bindgen_ty_1, size: usize) -> bool {
    let mut tuple = bpf_sock_tuple { __bindgen_anon_1: tuple };
    // SAFETY: the tuple lives on the stack for the call, and as many bytes of it are written as `size` says.
    let socket = unsafe { bpf_skc_lookup_tcp(ctx.as_ptr(), &raw mut tuple, size as u32, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the lookup has found it and taken a reference.
    let state = unsafe { (*socket).state };
    // SAFETY: as above; it is not touched afterwards.
    unsafe { bpf_sk_release(socket.cast()) };
    state != TCP_LISTEN
}
