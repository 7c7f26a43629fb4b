//! SYN cookies: a flood of SYNs is answered before the kernel allocates anything for one of them.
//!
//! The kernel itself decides when: `bpf_tcp_gen_syncookie` gives a cookie while a listener's SYN queue is full
//! (`net.ipv4.tcp_syncookies = 1`) or always (`2`), and ENOENT otherwise (`tcp_get_syncookie_mss`, `net/ipv4/tcp_input.c`).
//! It is the cookie that the kernel's own stack checks when the client acknowledges it, and the call leaves the mark on
//! the listener without which that check refuses.

use aya_ebpf::{helpers::generated::bpf_tcp_gen_syncookie, programs::XdpContext};
use spectrum_common::{
    Reason,
    layout::{SteerValue, steer_flags},
};

use crate::{
    answer,
    parse::Packet,
    sockets::{self, Socket},
    verdict::Verdict,
};

/// What the cookie helpers read of the IP header are its version and its addresses. This many bytes hold either family's
/// header; where the header is shorter, the TCP header makes up for it.
pub(crate) const IP_BYTES: u32 = 40;
/// A TCP header without options.
pub(crate) const TCP_BYTES: u32 = 20;

/// Answers a request for a connection with a cookie. None: the kernel shall see it, and nothing was changed.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, packet: &Packet, owner: &SteerValue) -> Option<Verdict> {
    if owner.flags & steer_flags::NO_SYN_COOKIES != 0 {
        return None;
    }
    let cookie = make(ctx, packet)?;
    answer::syn_ack(ctx, packet, cookie)?;
    Some(Verdict { reason: Reason::SynCookie, app: owner.app, rule: 0 })
}

#[inline(always)]
fn make(ctx: &XdpContext, packet: &Packet) -> Option<u32> {
    // An open connection or one in TIME_WAIT has its own answer to a SYN.
    if sockets::has_connection(ctx, packet) {
        return None;
    }
    let socket = Socket::of_daemon()?;
    let (network, transport) = packet.headers(ctx)?;
    let end = ctx.data_end();
    if network + IP_BYTES as usize > end || transport + TCP_BYTES as usize > end {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    let words = unsafe { *((transport + 12) as *const u8) } >> 4;
    // The verifier wants to see the length of what it lets a helper read: one call for each that there is.
    macro_rules! generate {
        ($($length:literal)*) => {
            match words {
                $($length => {
                    if transport + $length * 4 > end {
                        return None;
                    }
                    // SAFETY: both headers lie within the packet for as long as is said, and the socket is held.
                    unsafe {
                        bpf_tcp_gen_syncookie(
                            socket.as_ptr().cast(),
                            network as *mut _,
                            IP_BYTES,
                            transport as *mut _,
                            $length * 4,
                        )
                    }
                })*
                _ => return None,
            }
        };
    }
    let cookie = generate!(5 6 7 8 9 10 11 12 13 14 15);
    // The upper half is the largest segment that the client takes, which the cookie holds too.
    if cookie < 0 { None } else { Some(cookie.cast_unsigned() as u32) }
}
