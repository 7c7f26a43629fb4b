//! Datagrams that no client sends, by their port and by their first bytes. What those are: `spectrum_common::answers`.

use aya_ebpf::programs::XdpContext;
use spectrum_common::{
    Reason,
    answers::{self, Head},
    layout::udp_filters,
};

use crate::{
    parse::Packet,
    steering::{destination_port, source_port},
    words::word,
};

#[inline(always)]
pub(crate) fn check(ctx: &XdpContext, packet: &Packet, filters: u32) -> Result<(), Reason> {
    let source = u16::from_be(source_port(packet.ports));
    let destination = u16::from_be(destination_port(packet.ports));
    // Peers of one protocol may talk from its port to its port: NTP does, and name servers did.
    if filters & udp_filters::REFLECTION != 0 && source != destination && answers::is_reflector(source) {
        return Err(Reason::Reflection);
    }
    if filters & udp_filters::SIGNATURES != 0 && answers::is_one(source, destination, head(ctx, packet)) {
        return Err(Reason::Signature);
    }
    Ok(())
}

/// The first bytes of the payload; none where it lies behind long IPv6 extension headers.
#[inline(always)]
fn head(ctx: &XdpContext, packet: &Packet) -> Head {
    const UDP_BYTES: usize = 8;
    let Some((_, transport)) = packet.headers(ctx) else { return Head::NONE };
    let at = transport + UDP_BYTES;
    let end = ctx.data_end();
    if at + 4 > end {
        return Head::NONE;
    }
    // SAFETY: within the packet, as just checked.
    let first = word(unsafe { &*(at as *const [u8; 4]) });
    if at + 8 > end {
        return Head::four(first);
    }
    // SAFETY: as above.
    Head::eight(first, word(unsafe { &*((at + 4) as *const [u8; 4]) }))
}
