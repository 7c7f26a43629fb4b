//! Which application owns (protocol, destination, port): asked by XDP about packets, by `sk_lookup` about sockets.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_sk_lookup, sk_action},
    btf_maps::lpm_trie::Key,
    programs::{SkLookupContext, XdpContext},
};
use aya_log_ebpf::warn;
use spectrum_common::{
    Reason,
    layout::{PROTOCOL_TCP, SteerKey, SteerValue, listener_slot, steer_flags},
    steer,
};

use crate::{
    count, fragment,
    maps::{LISTENERS, QUESTION, STEER},
    parse::Packet,
    sockets,
    words::{Address, mapped},
};

/// The application that a packet is for, or why there is none.
#[inline(always)]
pub(crate) fn owner(ctx: &XdpContext, packet: &Packet) -> Result<&'static SteerValue, Reason> {
    let bits = if packet.part.has_ports() { steer::PORT_BITS } else { steer::ADDRESS_BITS };
    let key = SteerWords::new(bits, packet.protocol, packet.destination, destination_port(packet.ports));
    let owner = key.lookup().ok_or(Reason::NotOurs)?;
    if !packet.part.has_ports() {
        return Err(fragment::later(packet, owner));
    }
    match owner.flags & steer_flags::CLOSED {
        0 => Ok(owner),
        steer_flags::CLOSED_RESET => Err(Reason::ClosedPortReset),
        // What begins a connection cannot belong to one, and a flood of it must stay cheap.
        _ if packet.flags.is_segment() && sockets::has_connection(ctx, packet) => Err(Reason::OpenConnection),
        _ => Err(Reason::ClosedPort),
    }
}

/// The verdict of `sk_lookup`: our listener, nobody's socket, or the kernel's ordinary lookup.
#[inline(always)]
pub(crate) fn assign(ctx: &SkLookupContext) -> u32 {
    let local = Local::of(ctx);
    if local.is_asked_by_xdp() {
        // It wants to know of connections alone, and there is none.
        return sk_action::SK_DROP;
    }
    let Some(owner) = local.key().lookup() else {
        return sk_action::SK_PASS; // I3: not ours.
    };
    if owner.flags & steer_flags::CLOSED != 0 {
        // A pool address answers for applications alone, never for another listener of the host.
        return sk_action::SK_DROP;
    }
    let slot = if local.protocol == PROTOCOL_TCP { TCP_SLOT } else { UDP_SLOT };
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

pub(crate) const TCP_SLOT: u32 = match listener_slot(PROTOCOL_TCP) {
    Some(slot) => slot,
    None => panic!("TCP has a slot"),
};
const UDP_SLOT: u32 = match listener_slot(spectrum_common::layout::PROTOCOL_UDP) {
    Some(slot) => slot,
    None => panic!("UDP has a slot"),
};

/// What the peer asked for.
struct Local {
    protocol: u8,
    address: Address,
    /// Network byte order.
    port: u16,
    /// What XDP would ask by, were it to look for this.
    question: u64,
}

impl Local {
    #[inline(always)]
    fn of(ctx: &SkLookupContext) -> Self {
        const AF_INET: u32 = 2;
        let ctx = ctx.as_ptr().cast::<bpf_sk_lookup>();
        // Volatile: a compiler that computes a field's address before it branches on the family reads through a moved
        // context pointer, which the verifier refuses.
        macro_rules! field {
            ($($path:tt)+) => {
                // SAFETY: the kernel hands a valid context to the program, for as long as it runs.
                unsafe { (&raw const (*ctx).$($path)+).read_volatile() }
            };
        }
        let v4 = field!(local_ip4);
        let v6 = [field!(local_ip6[0]), field!(local_ip6[1]), field!(local_ip6[2]), field!(local_ip6[3])];
        let v4_family = field!(family) == AF_INET;
        let address = if v4_family { mapped(v4) } else { v6 };
        // `local_port` is in host order, unlike everything else in this context (include/uapi/linux/bpf.h).
        let port = (field!(local_port) as u16).to_be();
        let (source_v4, source_v6) = (field!(remote_ip4), field!(remote_ip6[3]));
        let source = if v4_family { source_v4 } else { source_v6 };
        let ports = u32::from(field!(remote_port)) | u32::from(port) << 16;
        Self { protocol: field!(protocol) as u8, address, port, question: sockets::question(source, ports) }
    }

    /// See [`sockets::has_connection`].
    #[inline(always)]
    fn is_asked_by_xdp(&self) -> bool {
        // SAFETY: the map returned it, and XDP on this CPU alone writes it, not while this runs.
        self.protocol == PROTOCOL_TCP && QUESTION.get_ptr_mut(0).is_some_and(|asked| unsafe { *asked } == self.question)
    }

    #[inline(always)]
    fn key(&self) -> SteerWords {
        SteerWords::new(steer::PORT_BITS, self.protocol, self.address, self.port)
    }
}

/// A key of `STEER`, by words.
#[repr(C)]
struct SteerWords {
    bits: u32,
    /// Three zero bytes, and the protocol.
    protocol: u32,
    address: Address,
    /// The port in network byte order, and two zero bytes.
    port: u32,
}

const _: () = assert!(size_of::<SteerWords>() == size_of::<Key<SteerKey>>());

impl SteerWords {
    /// `port` in network byte order.
    #[inline(always)]
    const fn new(bits: u32, protocol: u8, address: Address, port: u16) -> Self {
        Self { bits, protocol: u32::from_ne_bytes([0, 0, 0, protocol]), address, port: port as u32 }
    }

    #[inline(always)]
    fn lookup(&self) -> Option<&'static SteerValue> {
        // SAFETY: the same bytes in the same order, in a type of a smaller alignment.
        STEER.get(unsafe { &*core::ptr::from_ref(self).cast::<Key<SteerKey>>() })
    }
}

// The second of two ports in one word is its upper half, and the first two bytes of a word are its lower one.
const _: () = assert!(cfg!(target_endian = "little"));

/// The source port out of both, in network byte order.
#[inline(always)]
pub(crate) const fn source_port(ports: u32) -> u16 {
    ports as u16
}

/// The destination port out of both, in network byte order.
#[inline(always)]
pub(crate) const fn destination_port(ports: u32) -> u16 {
    (ports >> 16) as u16
}
