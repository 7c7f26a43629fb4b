//! What no client of an application sends: judged by the packet alone, flood or not.

use spectrum_common::Reason;

use crate::{
    parse::Packet,
    steering::{destination_port, source_port},
};

#[inline(always)]
pub(crate) fn check(packet: &Packet) -> Result<(), Reason> {
    if !packet.flags.are_legal() {
        return Err(Reason::IllegalFlags);
    }
    let port = source_port(packet.ports);
    if port == 0 {
        return Err(Reason::PortZero);
    }
    if port == destination_port(packet.ports) && packet.source == packet.destination {
        return Err(Reason::Land);
    }
    Ok(())
}
