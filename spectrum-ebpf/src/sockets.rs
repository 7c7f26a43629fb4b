//! What the kernel's own table of connections knows of a packet.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{bpf_map_lookup_elem, bpf_sk_release, bpf_skc_lookup_tcp},
    programs::XdpContext,
};

use crate::{
    maps::{LISTENERS, QUESTION},
    parse::{Family, Packet},
    steering::{TCP_SLOT, destination_port, source_port},
};

/// The interface's own network namespace (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// A listening socket (`include/net/tcp_states.h`): found where there is no connection, and says nothing of one.
const TCP_LISTEN: u32 = 10;

/// Whether the packet belongs to a TCP connection of this host, opening and closing ones included.
///
/// The kernel looks for a connection first, and then, through the steering program, for a listener. That second search is
/// longer than the first, and XDP knows its end: so the steering program is told to give up at once (`QUESTION`).
#[inline(always)]
pub(crate) fn has_connection(ctx: &XdpContext, packet: &Packet) -> bool {
    let Some(question) = QUESTION.get_ptr_mut(0) else { return false };
    let [.., source] = packet.source;
    // SAFETY: the map returned it, and nothing else on this CPU asks while the program runs.
    unsafe { *question = self::question(source, packet.ports) };
    let found = Socket::of(ctx, packet);
    // SAFETY: as above.
    unsafe { *question = 0 };
    found.is_some_and(|socket| !socket.is_listening())
}

/// What the steering program knows XDP's own lookup by: whoever else it is asked for at that moment is searched for.
#[inline(always)]
pub(crate) const fn question(source: u32, ports: u32) -> u64 {
    (source as u64) << 32 | ports as u64
}

/// A socket that is held. Every one that is found must be released: the verifier insists.
pub(crate) struct Socket(*mut bpf_sock);

impl Socket {
    /// The one that listens for all applications, if a daemon runs.
    #[inline(always)]
    pub(crate) fn of_daemon() -> Option<Self> {
        let slot = TCP_SLOT;
        // SAFETY: the map is one, and the key lives for the call.
        let socket = unsafe { bpf_map_lookup_elem((&raw const LISTENERS).cast_mut().cast(), (&raw const slot).cast()) };
        if socket.is_null() { None } else { Some(Self(socket.cast())) }
    }

    /// What the kernel gives a packet to.
    #[inline(always)]
    fn of(ctx: &XdpContext, packet: &Packet) -> Option<Self> {
        let (sport, dport) = (source_port(packet.ports), destination_port(packet.ports));
        match packet.family {
            Family::V4 => {
                let ([.., saddr], [.., daddr]) = (packet.source, packet.destination);
                let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 { saddr, daddr, sport, dport };
                Self::find(ctx, bpf_sock_tuple__bindgen_ty_1 { ipv4 }, size_of_val(&ipv4))
            }
            Family::V6 => {
                let (saddr, daddr) = (packet.source, packet.destination);
                let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 { saddr, daddr, sport, dport };
                Self::find(ctx, bpf_sock_tuple__bindgen_ty_1 { ipv6 }, size_of_val(&ipv6))
            }
        }
    }

    #[inline(always)]
    fn find(ctx: &XdpContext, tuple: bpf_sock_tuple__bindgen_ty_1, size: usize) -> Option<Self> {
        let mut tuple = bpf_sock_tuple { __bindgen_anon_1: tuple };
        // SAFETY: the tuple lives on the stack for the call, and as many bytes of it are written as `size` says.
        let socket = unsafe { bpf_skc_lookup_tcp(ctx.as_ptr(), &raw mut tuple, size as u32, CURRENT_NETNS, 0) };
        if socket.is_null() { None } else { Some(Self(socket)) }
    }

    #[inline(always)]
    fn is_listening(&self) -> bool {
        // SAFETY: the lookup has found it and taken a reference, which is held until `self` is dropped.
        unsafe { (*self.0).state == TCP_LISTEN }
    }

    #[inline(always)]
    pub(crate) const fn as_ptr(&self) -> *mut bpf_sock {
        self.0
    }
}

impl Drop for Socket {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the reference that the lookup took; nobody touches the socket afterwards.
        unsafe { bpf_sk_release(self.0.cast()) };
    }
}
