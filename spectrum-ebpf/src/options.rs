//! What a SYN offers beyond the largest segment, and how the answer to it is remembered.
//!
//! A cookie has no room for window scaling and SACK. They travel in the low bits of the timestamp that the answer carries
//! and the client sends back (`cookie_init_timestamp` and `cookie_timestamp_decode`, net/ipv4/syncookies.c), so a client
//! without timestamps has neither.

use aya_ebpf::{EbpfContext as _, bindings::xdp_md, helpers::bpf_ktime_get_ns, programs::XdpContext};
use spectrum_common::layout::mode;

use crate::{
    cookie::TCP_BYTES,
    maps::MODE,
    parse::{MOST_TRANSPORT, Packet},
    words::{masked, word},
};

/// Options that are looked at. Who pads with more is answered without timestamps.
const MOST_OPTIONS: usize = 12;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;
/// The largest window scale (RFC 7323 2.3).
const LARGEST_SCALE: u8 = 14;
/// As the low bits of a timestamp say that there is no window scaling (`TS_OPT_WSCALE_MASK`).
const NO_SCALE: u64 = 0xf;
/// `TS_OPT_SACK`.
const SACK: u64 = 0x10;
/// The low bits that options take of a timestamp (`TSBITS`).
const OPTION_BITS: u64 = 0x3f;
const MILLISECOND_NS: u64 = 1_000_000;

/// What a client offers, timestamps among it, in one number: the timestamp as it stands in the packet, and these bits.
#[derive(Clone, Copy)]
struct Offered(u64);

impl Offered {
    const TIMESTAMPS: u64 = 1 << 32;
    const SACK: u64 = 1 << 33;
    const SCALED: u64 = 1 << 34;
    const SCALE_SHIFT: u32 = 40;

    #[inline(always)]
    const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    #[inline(always)]
    const fn timestamp(self) -> u32 {
        self.0 as u32
    }

    /// The kernel's clock of timestamps, its low bits given up for what was offered; never ahead of the clock, or the
    /// kernel's own next one would go back.
    #[inline(always)]
    fn remembered(self) -> u32 {
        // SAFETY: the helper has no conditions.
        let now = unsafe { bpf_ktime_get_ns() } / MILLISECOND_NS;
        let sack = if self.has(Self::SACK) { SACK } else { 0 };
        let scale = if self.has(Self::SCALED) { self.0 >> Self::SCALE_SHIFT & NO_SCALE } else { NO_SCALE };
        let at = now & !OPTION_BITS | scale | sack;
        (if at > now { at - (OPTION_BITS + 1) } else { at }) as u32
    }
}

/// The options of the answer to a SYN that offers timestamps, without the segment size. None: no timestamps, by the
/// client or by the node.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, packet: &Packet) -> Option<[u32; 4]> {
    let mode = *MODE.get(0)?;
    if mode & mode::TIMESTAMPS == 0 {
        return None;
    }
    let offered = Offered(offered_options(ctx.as_ptr().cast(), packet.transport as u64, 0));
    if !offered.has(Offered::TIMESTAMPS) {
        return None;
    }
    let scale = (mode >> mode::SCALE_SHIFT & mode::SCALE_MASK) as u8;
    let first = if offered.has(Offered::SACK) { [SACK_PERMITTED, 2] } else { [NO_OPERATION; 2] };
    let last = if offered.has(Offered::SCALED) { [NO_OPERATION, SCALE, 3, scale] } else { [NO_OPERATION; 4] };
    Some([
        u32::from_ne_bytes([first[0], first[1], TIMESTAMPS, 10]),
        offered.remembered().to_be(),
        offered.timestamp(),
        u32::from_ne_bytes(last),
    ])
}

/// Reads the options of the TCP header at `transport`, into an [`Offered`].
///
/// A function of its own to the verifier too, which follows it once and for any arguments (`btf_check_subprog_call`,
/// 5.6): inlined, it is followed anew from each of the ways that lead here, and takes more than a million steps. `zero`
/// is 0, and the verifier must not know: what begins as a known number makes every round of the loop a different one.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn offered_options(ctx: *mut xdp_md, transport: u64, zero: u64) -> u64 {
    let ctx = XdpContext::new(ctx);
    let (front, end) = (ctx.data(), ctx.data_end());
    let header = front + masked::<MOST_TRANSPORT>(transport as usize);
    let options = header + TCP_BYTES as usize;
    if options > end {
        return 0;
    }
    // SAFETY: within the packet, as just checked.
    let words = unsafe { *((header + 12) as *const u8) } >> 4;
    let length = (usize::from(words) * 4).saturating_sub(TCP_BYTES as usize);
    let mut offered = zero;
    let mut at = zero as usize;
    for _ in 0..MOST_OPTIONS {
        // No more than the verifier can follow, and than there are bytes of options.
        at = masked::<0x3f>(at);
        let here = options + at;
        if at >= length || here + 1 > end {
            break;
        }
        // SAFETY: within the packet, as just checked.
        let kind = unsafe { *(here as *const u8) };
        if kind == END {
            break;
        }
        if kind == NO_OPERATION {
            at += 1;
            continue;
        }
        if here + 2 > end {
            break;
        }
        // SAFETY: within the packet, as just checked.
        let size = usize::from(unsafe { *((here + 1) as *const u8) });
        if size < 2 || at + size > length {
            break;
        }
        if kind == TIMESTAMPS && size == 10 && here + 10 <= end {
            // SAFETY: within the packet, as just checked.
            let timestamp = word(unsafe { &*((here + 2) as *const [u8; 4]) });
            offered = offered & !u64::from(u32::MAX) | u64::from(timestamp) | Offered::TIMESTAMPS;
        } else if kind == SCALE && size == 3 && here + 3 <= end {
            // SAFETY: within the packet, as just checked.
            let scale = unsafe { *((here + 2) as *const u8) };
            let scale = u64::from(if scale > LARGEST_SCALE { LARGEST_SCALE } else { scale });
            offered = offered & !(NO_SCALE << Offered::SCALE_SHIFT) | scale << Offered::SCALE_SHIFT | Offered::SCALED;
        } else if kind == SACK_PERMITTED && size == 2 {
            offered |= Offered::SACK;
        }
        at += size;
    }
    offered
}
