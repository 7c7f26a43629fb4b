//! Makes a SYN-ACK of a SYN, in place.
//!
//! There is one for one SYN, and it is four bytes longer than a SYN without options, or eight longer than one that offers
//! timestamps alone: nobody gains by sending them in another's name.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_check_mtu, bpf_xdp_adjust_tail},
    programs::XdpContext,
};

use spectrum_common::layout::PROTOCOL_TCP;

use crate::{
    options,
    parse::{Family, MOST_NETWORK, Packet},
    words::{Address, masked, put_word, word},
};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const HOPS: u8 = 64;
/// What the kernel would offer first with its default buffers (`tcp_select_initial_window`).
const WINDOW: u16 = 64_240;
const SYN_ACK: u8 = 0x12;

/// The answer with `cookie` for its sequence number. None: nothing was changed.
#[inline(always)]
pub(crate) fn syn_ack(ctx: &XdpContext, packet: &Packet, cookie: u32) -> Option<()> {
    let (_, transport) = packet.headers(ctx)?;
    if transport + 8 > ctx.data_end() {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    let asked = word(unsafe { &*((transport + 4) as *const [u8; 4]) });
    match options::answer(ctx, packet) {
        None => make(ctx, packet, |mss| [0, 0, 0, 0, 0, mss], cookie, asked),
        Some([a, b, c, d]) => make(ctx, packet, |mss| [0, 0, 0, 0, 0, mss, a, b, c, d], cookie, asked),
    }
}

/// Makes the frame as long as its answer, whose TCP header has `WORDS` words, and writes it.
#[inline(always)]
fn make<const WORDS: usize>(
    ctx: &XdpContext,
    packet: &Packet,
    options: impl FnOnce(u32) -> [u32; WORDS],
    cookie: u32,
    asked: u32,
) -> Option<()> {
    let ip = match packet.family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    };
    // Masked, so that LLVM cannot turn the sum round to one of a pointer and a number that the verifier knows nothing of.
    let (network, length) = (masked::<MOST_NETWORK>(packet.network), masked::<0x1_ffff>(ctx.data_end() - ctx.data()));
    let more = (network + ip + WORDS * 4).wrapping_sub(length).cast_signed() as i32;
    // SAFETY: the helper checks what it is asked for; every pointer into the packet is made anew afterwards.
    if unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), more) } != 0 {
        return None;
    }
    let tcp = Tcp::answer(ctx, packet, options, cookie, asked);
    write(ctx, packet, &tcp)
}

/// Writes the answer over what stands in a frame of its size.
#[inline(always)]
fn write<const WORDS: usize>(ctx: &XdpContext, packet: &Packet, tcp: &Tcp<WORDS>) -> Option<()> {
    let (front, end) = (ctx.data(), ctx.data_end());
    let (at, _) = packet.headers(ctx)?;
    if front + ETHERNET > end {
        return None;
    }
    swap_addresses(front);
    match packet.family {
        Family::V4 => {
            if at + IPV4 + WORDS * 4 <= end {
                put_ipv4(at, packet, WORDS * 4);
                tcp.put(at + IPV4);
            }
        }
        Family::V6 => {
            if at + IPV6 + WORDS * 4 <= end {
                put_ipv6(at, packet, WORDS * 4);
                tcp.put(at + IPV6);
            }
        }
    }
    Some(())
}

#[inline(always)]
fn swap_addresses(front: usize) {
    let load = |at: usize| {
        // SAFETY: the caller has checked the whole Ethernet header.
        word(unsafe { &*((front + at) as *const [u8; 4]) })
    };
    // Six bytes and six bytes, as three words.
    let (a, b, c) = (load(0), load(4), load(8));
    let put = |at: usize, word: u32| {
        // SAFETY: as above.
        unsafe { put_word(front + at, word) };
    };
    put(0, (b >> 16) | (c << 16));
    put(4, (c >> 16) | (a << 16));
    put(8, (a >> 16) | (b << 16));
}

/// A TCP header with its options, by words.
struct Tcp<const WORDS: usize>([u32; WORDS]);

impl<const WORDS: usize> Tcp<WORDS> {
    /// `options`: a header of which only the options are written, given the first of them, the segment size.
    #[inline(always)]
    fn answer(
        ctx: &XdpContext,
        packet: &Packet,
        options: impl FnOnce(u32) -> [u32; WORDS],
        cookie: u32,
        asked: u32,
    ) -> Self {
        let [window_high, window_low] = WINDOW.to_be_bytes();
        let [mss_high, mss_low] = segment(ctx, packet.family).to_be_bytes();
        let mut words = options(u32::from_ne_bytes([2, 4, mss_high, mss_low]));
        words[0] = packet.ports.rotate_left(16);
        words[1] = cookie.to_be();
        words[2] = u32::from_be(asked).wrapping_add(1).to_be();
        words[3] = u32::from_ne_bytes([(WORDS as u8) << 4, SYN_ACK, window_high, window_low]);
        let sum = total(&words)
            + total(&packet.source)
            + total(&packet.destination)
            + u64::from(u32::from_ne_bytes([0, PROTOCOL_TCP, 0, WORDS as u8 * 4]));
        words[4] = u32::from(checksum(sum));
        Self(words)
    }

    #[inline(always)]
    fn put(&self, at: usize) {
        put_words(at, &self.0);
    }
}

#[inline(always)]
fn put_ipv4(at: usize, packet: &Packet, tcp: usize) {
    const DO_NOT_FRAGMENT: u8 = 0x40;
    let ([.., source], [.., destination]) = (packet.source, packet.destination);
    let mut words = [
        u32::from_ne_bytes([0x45, 0, 0, (IPV4 + tcp) as u8]),
        u32::from_ne_bytes([0, 0, DO_NOT_FRAGMENT, 0]),
        u32::from_ne_bytes([HOPS, PROTOCOL_TCP, 0, 0]),
        destination,
        source,
    ];
    words[2] |= u32::from(checksum(total(&words))) << 16;
    put_words(at, &words);
}

#[inline(always)]
fn put_ipv6(at: usize, packet: &Packet, tcp: usize) {
    put_words(at, &[u32::from_ne_bytes([0x60, 0, 0, 0]), u32::from_ne_bytes([0, tcp as u8, PROTOCOL_TCP, HOPS])]);
    put_words(at + 8, &packet.destination);
    put_words(at + 8 + size_of::<Address>(), &packet.source);
}

#[inline(always)]
fn put_words<const N: usize>(at: usize, words: &[u32; N]) {
    let mut to = at;
    for word in words {
        // SAFETY: `write` has checked the room for what is put.
        unsafe { put_word(to, *word) };
        to += 4;
    }
}

/// The largest segment that is offered: what the interface takes, less the headers.
#[inline(always)]
fn segment(ctx: &XdpContext, family: Family) -> u16 {
    const THIS_INTERFACE: u32 = 0;
    const SMALLEST_MTU: u32 = 1280;
    let mut mtu = 0;
    // SAFETY: the helper writes the interface's MTU to `mtu`, whatever it thinks of this packet's length (5.12).
    unsafe { bpf_check_mtu(ctx.as_ptr(), THIS_INTERFACE, &raw mut mtu, 0, 0) };
    if mtu < SMALLEST_MTU {
        mtu = SMALLEST_MTU;
    }
    let headers = match family {
        Family::V4 => 40,
        Family::V6 => 60,
    };
    (mtu - headers) as u16
}

/// A sum for [`checksum`], which does not care in which order the bytes of its 16-bit parts are (RFC 1071 2).
#[inline(always)]
fn total<const N: usize>(words: &[u32; N]) -> u64 {
    let mut sum = 0;
    for word in words {
        sum += u64::from(*word);
    }
    sum
}

/// The Internet checksum, as its two bytes lie in memory.
#[inline(always)]
const fn checksum(sum: u64) -> u16 {
    let mut sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
