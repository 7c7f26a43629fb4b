//! From bytes to what the stages ask about: addresses, ports, protocol.
//!
//! Deliberately not here: maps and decisions. What cannot be read is an `Err` with its reason, never an action.

use aya_ebpf::programs::XdpContext;
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};
use spectrum_common::{
    Reason,
    layout::{NO_FLAGS, PROTOCOL_TCP, PROTOCOL_UDP},
    limits,
    table::Ahead,
};

use crate::words::{Address, forgotten, mapped, masked, word, words};

/// What the stages know of a packet.
pub(crate) struct Packet {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) family: Family,
    pub(crate) protocol: u8,
    pub(crate) part: Part,
    /// Source and destination port, as the packet has them.
    pub(crate) ports: u32,
    /// Where the IP header and the TCP or UDP header begin, in bytes from the front of the frame.
    pub(crate) network: usize,
    pub(crate) transport: usize,
    pub(crate) flags: TcpFlags,
}

/// The flags of a TCP segment (RFC 9293 3.1).
#[derive(Clone, Copy)]
pub(crate) struct TcpFlags(u32);

impl TcpFlags {
    const FIN: u32 = 1;
    const SYN: u32 = 2;
    const RST: u32 = 4;
    const ACK: u32 = 16;
    /// Not TCP, or cut short. No segment has this bit.
    const UNREAD: Self = Self(NO_FLAGS);

    #[inline(always)]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// Whether it is TCP and does not begin a connection.
    #[inline(always)]
    pub(crate) const fn is_segment(self) -> bool {
        self.0 & (Self::UNREAD.0 | Self::SYN) == 0
    }

    /// Whether it is TCP, and not [`Self::is_request`].
    #[inline(always)]
    pub(crate) const fn is_other(self) -> bool {
        self.0 & Self::UNREAD.0 == 0 && !self.is_request()
    }

    /// Whether a sender of good faith combines them so (RFC 9293 3.10). What cannot be read is not judged.
    #[inline(always)]
    pub(crate) const fn are_legal(self) -> bool {
        // One bit for each combination of FIN, SYN, RST and ACK, in this order: SYN, RST, ACK, ACK with one other.
        const LEGAL: u32 = 1 << 2 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12;
        let combination = self.0 & (Self::FIN | Self::SYN | Self::RST) | (self.0 & Self::ACK) >> 1;
        self.0 & Self::UNREAD.0 != 0 || LEGAL >> combination & 1 != 0
    }

    /// Whether it asks for a connection.
    #[inline(always)]
    pub(crate) const fn is_request(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

/// What a packet is of what was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The fragment that has the ports.
    First,
    /// A fragment without ports (they are zero) that begins where a TCP header would still go on.
    WithinHeader,
    /// Any other fragment without ports.
    Later,
}

impl Part {
    /// `offset` in units of eight bytes.
    #[inline(always)]
    const fn of(offset: u16, more: bool) -> Self {
        match offset {
            0 if more => Self::First,
            0 => Self::Whole,
            // A TCP header without options is two and a half units long.
            1 | 2 => Self::WithinHeader,
            _ => Self::Later,
        }
    }

    #[inline(always)]
    pub(crate) const fn has_ports(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Bounds of [`Packet::network`] and [`Packet::transport`] where a header is to be read again. Masks, because those the
/// verifier understands: two VLAN tags end at byte 22, IPv4 with all its options at 82.
pub(crate) const MOST_NETWORK: usize = 0x1f;
pub(crate) const MOST_TRANSPORT: usize = 0x7f;

impl Packet {
    /// A packet of which nothing has been read.
    pub(crate) const UNREAD: Self = Self {
        source: [0; 4],
        destination: [0; 4],
        family: Family::V6,
        protocol: 0,
        part: Part::Whole,
        ports: 0,
        network: 0,
        transport: 0,
        flags: TcpFlags::UNREAD,
    };

    /// The source as tables are asked by it.
    #[inline(always)]
    pub(crate) fn source_ahead(&self) -> Ahead {
        let [a, b, c, d] = self.source.map(|word| u64::from(u32::from_be(word)));
        // Both families on one way.
        let unknown = d << 32 | d;
        let (front, back) = match self.family {
            Family::V4 => (d << 32, 0),
            Family::V6 => (a << 32 | b, c << 32 | d),
        };
        Ahead { front: forgotten(front, unknown), back: forgotten(back, unknown) }
    }

    /// Where the IP header and the TCP header lie in memory, within their first bytes or beyond the packet's end: that is
    /// for the caller to check. None for a packet with long IPv6 extension headers.
    #[inline(always)]
    pub(crate) fn headers(&self, ctx: &XdpContext) -> Option<(usize, usize)> {
        if self.transport > MOST_TRANSPORT {
            return None;
        }
        let front = ctx.data();
        Some((front + masked::<MOST_NETWORK>(self.network), front + masked::<MOST_TRANSPORT>(self.transport)))
    }
}

/// Reads headers from the front of a packet; remembers how far it got.
struct Cursor {
    at: usize,
    end: usize,
}

impl Cursor {
    #[inline(always)]
    fn new(ctx: &XdpContext) -> Self {
        Self { at: ctx.data(), end: ctx.data_end() }
    }

    /// Borrows the header that starts here and moves past it.
    #[inline(always)]
    fn take<'a, T: Header>(&mut self) -> Result<&'a T, Reason> {
        let next = self.at + size_of::<T>();
        if next > self.end {
            return Err(Reason::Truncated);
        }
        // SAFETY: `at..next` lies within the packet, as just checked, and `Header` is valid for any bytes at any address.
        let header = unsafe { &*(self.at as *const T) };
        self.at = next;
        Ok(header)
    }

    /// Moves past `bytes` that nobody looks at.
    #[inline(always)]
    fn skip(&mut self, bytes: usize) -> Result<(), Reason> {
        self.at += bytes;
        if self.at > self.end {
            return Err(Reason::Truncated);
        }
        Ok(())
    }
}

/// A header that any bytes make up, at any address.
///
/// # Safety
///
/// Alignment is 1, and every bit pattern is a valid value.
unsafe trait Header {}

/// What stands behind a VLAN tag's ether type: its control bits, and the next ether type.
#[repr(C)]
struct VlanTag {
    _control: [u8; 2],
    ether_type: [u8; 2],
}

/// What every IPv6 extension header begins with (RFC 8200 4).
#[repr(C)]
struct Extension {
    next: u8,
    length: u8,
}

/// What follows in a fragment header (RFC 8200 4.5).
#[repr(C)]
struct FragmentRest {
    offset: [u8; 2],
    _identification: [u8; 4],
}

/// What TCP and UDP begin with, and all that the first fragment must have.
#[repr(C)]
struct Ports([u8; 4]);

/// What TCP goes on with, as far as its flags (RFC 9293 3.1).
#[repr(C)]
struct TcpRest {
    _numbers: [u8; 8],
    _offset: u8,
    flags: u8,
}

/// Two MAC addresses and an ether type. network-types' own type has alignment 2 and names few ether types.
#[repr(C)]
struct Ethernet {
    _addresses: [u8; 12],
    ether_type: [u8; 2],
}

const _: () = assert!(size_of::<Ethernet>() == EthHdr::LEN);
const _: () = assert!(align_of::<Ipv4Hdr>() == 1 && align_of::<Ipv6Hdr>() == 1);

// SAFETY: arrays of bytes, alignment 1.
unsafe impl Header for Ethernet {}
// SAFETY: arrays of bytes, alignment 1.
unsafe impl Header for VlanTag {}
// SAFETY: bytes, alignment 1.
unsafe impl Header for Extension {}
// SAFETY: bytes, alignment 1.
unsafe impl Header for TcpRest {}
// SAFETY: arrays of bytes, alignment 1.
unsafe impl Header for FragmentRest {}
// SAFETY: arrays of bytes, alignment 1.
unsafe impl Header for Ports {}
// SAFETY: bytes and arrays of bytes, alignment 1 as asserted above.
unsafe impl Header for Ipv4Hdr {}
// SAFETY: bytes and arrays of bytes, alignment 1 as asserted above.
unsafe impl Header for Ipv6Hdr {}

const ETHER_IPV4: [u8; 2] = 0x0800_u16.to_be_bytes();
const ETHER_IPV6: [u8; 2] = 0x86dd_u16.to_be_bytes();
const ETHER_VLAN: [u8; 2] = 0x8100_u16.to_be_bytes();
const ETHER_QINQ: [u8; 2] = 0x88a8_u16.to_be_bytes();

/// Reads the packet as far as its ports, into `packet`: the kernel's stack has no room for copies.
#[inline(always)]
pub(crate) fn read(ctx: &XdpContext, packet: &mut Packet) -> Result<(), Reason> {
    let mut cursor = Cursor::new(ctx);
    let ether_type = ether_type(&mut cursor)?;
    packet.network = cursor.at - ctx.data();
    match ether_type {
        ETHER_IPV4 => ipv4(&mut cursor, packet)?,
        ETHER_IPV6 => ipv6(&mut cursor, packet)?,
        _ => return Err(Reason::NotIp),
    }
    packet.transport = cursor.at - ctx.data();
    ports(&mut cursor, packet)?;
    // With and without VLAN tags, options and extension headers: what follows is one way.
    let [.., unknown] = packet.source.map(u64::from);
    packet.network = forgotten(packet.network as u64, unknown) as usize;
    packet.transport = forgotten(packet.transport as u64, unknown) as usize;
    packet.flags = TcpFlags(forgotten(packet.flags.0.into(), unknown) as u32);
    Ok(())
}

/// The ether type behind at most two VLAN tags; a third one is somebody else's protocol.
#[inline(always)]
fn ether_type(cursor: &mut Cursor) -> Result<[u8; 2], Reason> {
    let mut ether_type = cursor.take::<Ethernet>()?.ether_type;
    for _ in 0..limits::VLAN_TAGS {
        if ether_type != ETHER_VLAN && ether_type != ETHER_QINQ {
            break;
        }
        ether_type = cursor.take::<VlanTag>()?.ether_type;
    }
    Ok(ether_type)
}

#[inline(always)]
fn ipv4(cursor: &mut Cursor, packet: &mut Packet) -> Result<(), Reason> {
    let header = cursor.take::<Ipv4Hdr>()?;
    let length = usize::from(header.ihl());
    if header.version() != 4 || length < Ipv4Hdr::LEN {
        return Err(Reason::Malformed);
    }
    packet.source = mapped(word(&header.src_addr));
    packet.destination = mapped(word(&header.dst_addr));
    packet.family = Family::V4;
    packet.protocol = header.proto;
    packet.part = Part::of(header.frag_offset(), header.frag_flags() & 1 != 0);
    cursor.skip(length - Ipv4Hdr::LEN)
}

#[inline(always)]
fn ipv6(cursor: &mut Cursor, packet: &mut Packet) -> Result<(), Reason> {
    let header = cursor.take::<Ipv6Hdr>()?;
    if header.version() != 6 {
        return Err(Reason::Malformed);
    }
    packet.source = words(&header.src_addr);
    packet.destination = words(&header.dst_addr);
    packet.family = Family::V6;
    (packet.protocol, packet.part) = extensions(cursor, header.next_hdr)?;
    Ok(())
}

/// Follows the chain of extension headers to the protocol behind it.
#[inline(always)]
fn extensions(cursor: &mut Cursor, first: u8) -> Result<(u8, Part), Reason> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    const MOBILITY: u8 = 135;

    let mut next = first;
    let mut part = Part::Whole;
    for _ in 0..limits::IPV6_EXTENSIONS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY => {
                let extension = cursor.take::<Extension>()?;
                cursor.skip(usize::from(extension.length) * 8 + 6)?;
                next = extension.next;
            }
            AUTHENTICATION => {
                // Its length counts 4-byte words, less two (RFC 4302 2.2).
                let extension = cursor.take::<Extension>()?;
                cursor.skip(usize::from(extension.length) * 4 + 6)?;
                next = extension.next;
            }
            FRAGMENT => {
                let extension = cursor.take::<Extension>()?;
                let bits = u16::from_be_bytes(cursor.take::<FragmentRest>()?.offset);
                part = Part::of(bits >> 3, bits & 1 != 0);
                if !part.has_ports() {
                    // What follows is the middle of something: the chain ends here.
                    return Ok((extension.next, part));
                }
                next = extension.next;
            }
            protocol => return Ok((protocol, part)),
        }
    }
    match next {
        HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | AUTHENTICATION | FRAGMENT => Err(Reason::TooManyHeaders),
        protocol => Ok((protocol, part)),
    }
}

/// Ends the reading: the ports, where there are some.
#[inline(always)]
fn ports(cursor: &mut Cursor, packet: &mut Packet) -> Result<(), Reason> {
    if packet.protocol != PROTOCOL_TCP && packet.protocol != PROTOCOL_UDP {
        return Err(Reason::OtherProtocol);
    }
    if packet.part.has_ports() {
        packet.ports = word(&cursor.take::<Ports>()?.0);
        if packet.protocol == PROTOCOL_TCP
            && let Ok(rest) = cursor.take::<TcpRest>()
        {
            packet.flags = TcpFlags(u32::from(rest.flags));
        }
    }
    Ok(())
}
