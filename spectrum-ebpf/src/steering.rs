//! Which application owns (protocol, destination, port): asked by XDP about packets, by `sk_lookup` about sockets.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_sk_lookup, sk_action},
    btf_maps::lpm_trie::Key,
    programs::SkLookupContext,
};
use aya_log_ebpf::warn;
use spectrum_common::{
    Reason,
    layout::{PROTOCOL_TCP, SteerKey, SteerValue, listener_slot, steer_flags},
    steer,
};

use crate::{
    count,
    maps::{LISTENERS, STEER},
    parse::Packet,
};

/// The application that a packet is for, or why there is none.
#[inline(always)]
pub(crate) fn owner(packet: &Packet) -> Result<&'static SteerValue, Reason> {
    let bits = if packet.later_fragment { steer::ADDRESS_BITS } else { steer::PORT_BITS };
    let key = steer::key(packet.protocol, packet.destination, packet.destination_port);
    let owner = lookup(key, bits).ok_or(Reason::NotOurs)?;
    if packet.later_fragment {
        return Err(Reason::LaterFragment);
    }
    match owner.flags & steer_flags::CLOSED {
        0 => Ok(owner),
        steer_flags::CLOSED_RESET => Err(Reason::ClosedPortReset),
        _ => Err(Reason::ClosedPort),
    }
}

/// The verdict of `sk_lookup`: our listener, nobody's socket, or the kernel's ordinary lookup.
#[inline(always)]
pub(crate) fn assign(ctx: &SkLookupContext) -> u32 {
    // SAFETY: the kernel hands a valid context to the program, for as long as it runs.
    let lookup_context = unsafe { &*ctx.as_ptr().cast::<bpf_sk_lookup>() };
    let protocol = lookup_context.protocol as u8;
    let Some(owner) = lookup(local_key(lookup_context, protocol), steer::PORT_BITS) else {
        return sk_action::SK_PASS; // I3: not ours.
    };
    if owner.flags & steer_flags::CLOSED != 0 {
        // A pool address answers for applications alone, never for another listener of the host.
        return sk_action::SK_DROP;
    }
    let slot = if protocol == PROTOCOL_TCP { TCP_SLOT } else { UDP_SLOT };
    match LISTENERS.redirect_sk_lookup(ctx, slot, 0) {
        Ok(()) => sk_action::SK_PASS,
        Err(error) => {
            // I6: dropped, never given to another socket.
            count::reason(Reason::NoListener, owner.app, 0);
            warn!(ctx, "no listener for application {}: {}", owner.app, error);
            sk_action::SK_DROP
        }
    }
}

const TCP_SLOT: u32 = match listener_slot(PROTOCOL_TCP) {
    Some(slot) => slot,
    None => panic!("TCP has a slot"),
};
const UDP_SLOT: u32 = match listener_slot(spectrum_common::layout::PROTOCOL_UDP) {
    Some(slot) => slot,
    None => panic!("UDP has a slot"),
};

/// The key of the address and port that the peer asked for.
#[inline(always)]
fn local_key(ctx: &bpf_sk_lookup, protocol: u8) -> SteerKey {
    const AF_INET: u32 = 2;
    let address = if ctx.family == AF_INET {
        steer::mapped(ctx.local_ip4.to_ne_bytes())
    } else {
        let [a, b, c, d] = ctx.local_ip6;
        // SAFETY: two arrays of 16 bytes, valid for any bits.
        unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>([a, b, c, d]) }
    };
    // `local_port` is in host order, unlike everything else in this context (include/uapi/linux/bpf.h).
    let port = (ctx.local_port as u16).to_be_bytes();
    steer::key(protocol, address, port)
}

#[inline(always)]
fn lookup(key: SteerKey, bits: u32) -> Option<&'static SteerValue> {
    STEER.get(&Key::new(bits, key))
}
