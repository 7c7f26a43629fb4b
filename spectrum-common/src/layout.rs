//! Every struct that crosses the kernel boundary (invariants I1, I2).
//!
//! `Pod` by derive proves that there is no padding; sizes are asserted here. Addresses and ports are in network byte
//! order, as arrays of bytes, so that there is no order to get wrong.

use bytemuck::{Pod, Zeroable};

use crate::reason::SLOTS;

/// Bumped whenever a key, a value or the meaning of one changes: pins of another layout are refused, never reused.
pub const VERSION: u32 = 4;

/// Key data of `STEER`, most significant part first; its prefix length counts bits from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct SteerKey {
    /// Always zero: every part of the key begins on a word, so that the kernel programs build it by words.
    pub zero_front: [u8; 3],
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// Edge address; an IPv4 one as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Edge port, big-endian, last so that a port range is a handful of prefixes.
    pub port: [u8; 2],
    /// The kernel keeps the value right behind the key: this aligns it. Beyond every prefix length, always zero.
    pub zero: [u8; 2],
}

/// Value of `STEER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct SteerValue {
    /// Application number, an index into `APPS`; unused where a `CLOSED_*` flag is set.
    pub app: u32,
    /// Zone number, the scope of its access rules.
    pub zone: u32,
    /// `steer_flags`.
    pub flags: u32,
}

/// Bits of [`SteerValue::flags`].
pub mod steer_flags {
    /// The application checks access rules (`ip_firewall`).
    pub const IP_FIREWALL: u32 = 1;
    /// Nobody's port of a pool address: XDP drops.
    pub const CLOSED_DROP: u32 = 2;
    /// Nobody's port of a pool address: XDP passes, `sk_lookup` finds no socket, the kernel resets.
    pub const CLOSED_RESET: u32 = 4;
    /// The application's SYNs are left to the kernel (`syn_cookies = "never"`).
    pub const NO_SYN_COOKIES: u32 = 8;
    /// The application has a [`Policy`](super::Policy): without this bit nobody looks.
    pub const POLICY: u32 = 16;
    /// Fragments of datagrams are dropped.
    pub const NO_FRAGMENTS: u32 = 32;
    /// Rules by autonomous system may speak of its clients: the source's is looked up.
    pub const ASN_RULES: u32 = 64;
    /// Rules by country may.
    pub const COUNTRY_RULES: u32 = 128;
    /// Either of the two.
    pub const CLASS_RULES: u32 = ASN_RULES | COUNTRY_RULES;
    /// Either of the two.
    pub const CLOSED: u32 = CLOSED_DROP | CLOSED_RESET;
}

/// Bits of `MODE`.
pub mod mode {
    /// Segments of no connection are dropped.
    pub const REFUSE_ORPHANS: u32 = 1;
    /// Answers to SYNs offer timestamps, and in them what else the client has offered. The kernel reads that back only
    /// where `net.ipv4.tcp_timestamps` is 2: with 1 it takes an offset off first that XDP cannot know
    /// (`secure_tcp_ts_off` in `net/core/secure_seq.c`).
    pub const TIMESTAMPS: u32 = 2;
    /// How far up the window scale stands that such an answer offers.
    pub const SCALE_SHIFT: u32 = 8;
    /// Of the window scale, once it is shifted down.
    pub const SCALE_MASK: u32 = 0xf;
}

/// Value of `POLICIES`: what an application asks of its packets beside access. All zero: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Policy {
    /// Of requests for connections, or of datagrams.
    pub limits: crate::fair::Limits,
    /// [`udp_filters`]; none for an application over TCP.
    pub udp_filters: u32,
}

/// Bits of [`Policy::udp_filters`].
pub mod udp_filters {
    /// Datagrams from ports of reflectors are dropped.
    pub const REFLECTION: u32 = 1;
    /// Datagrams that are answers by their first bytes are dropped.
    pub const SIGNATURES: u32 = 2;
}

/// Scope of user rules: they apply in every zone. Zone numbers start at 1.
pub const SCOPE_USER: u32 = 0;

/// Key data of `RULES_V4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct RuleKeyV4 {
    /// [`SCOPE_USER`] or a zone number, big-endian.
    pub scope: [u8; 4],
    pub address: [u8; 4],
}

/// Key data of `RULES_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct RuleKeyV6 {
    /// [`SCOPE_USER`] or a zone number, big-endian.
    pub scope: [u8; 4],
    pub address: [u8; 16],
}

/// Key of `ASN_RULES` and `COUNTRY_RULES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ClassKey {
    /// [`SCOPE_USER`] or a zone number.
    pub scope: u32,
    /// An autonomous system's number, or a country as [`crate::geo::country`] writes it.
    pub number: u32,
}

/// Value of `RULES_V4` and `RULES_V6`: what this prefix *and every prefix that covers it* say, so that one longest
/// match is the whole answer. 0 is none, else the number of the most specific such rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct RuleValue {
    /// An allow rule: beats every block.
    pub allow: u32,
    /// A block rule.
    pub block: u32,
    /// A rule that is only tried: it decides nothing, and is told where no other does.
    pub simulate: u32,
}

/// Value of `APPS`, `RULES` and `ZONES`: which object a number stands for. All zero: a free number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ObjectId {
    pub id: [u8; 16],
}

/// One counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Count {
    pub packets: u64,
    /// Bytes on the wire, from the Ethernet header on.
    pub bytes: u64,
}

/// Index into `APP_COUNTERS`.
pub const fn app_counter(app: u32, reason: crate::Reason) -> u32 {
    app * SLOTS + reason.index()
}

/// Slot of `LISTENERS` for an IP protocol number.
pub const fn listener_slot(protocol: u8) -> Option<u32> {
    match protocol {
        PROTOCOL_TCP => Some(0),
        PROTOCOL_UDP => Some(1),
        _ => None,
    }
}

/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// No application: see [`Event::app`].
pub const NO_APP: u32 = u32::MAX;

/// A sampled verdict, as it comes out of `EVENTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Event {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// How many packets for applications and pools it stands for, itself included; 0: it is no sample of all of them.
    pub weight: u32,
    /// How many drops it stands for, itself included; 0: it is no sample of the drops.
    pub drops: u32,
    /// `Reason` as its index.
    pub reason: u32,
    /// Application number, or [`NO_APP`].
    pub app: u32,
    /// Rule number, 0 for none.
    pub rule: u32,
    /// Bytes on the wire.
    pub length: u32,
    pub ifindex: u32,
    /// IPv4 as `::ffff:a.b.c.d`; all zero where the packet has none.
    pub source: [u8; 16],
    pub destination: [u8; 16],
    /// Big-endian.
    pub source_port: [u8; 2],
    /// Big-endian.
    pub destination_port: [u8; 2],
    /// IP protocol number, 0 where the packet has none.
    ///
    /// Whole words here and below: seven bytes of padding would be set by a call of `memset`, and with a call the XDP
    /// program's stack is too large for kernels before 6.13 (`check_max_stack_depth` in kernel/bpf/verifier.c).
    pub protocol: u32,
    /// Of a TCP segment its flags, else [`NO_FLAGS`].
    pub tcp_flags: u32,
    /// Where the TCP or UDP header begins, in bytes from the front of the frame; 0 where that was not found.
    pub transport: u32,
    /// How many of `bytes` are the packet's.
    pub captured: u32,
    /// The packet as it came, from its Ethernet header on.
    pub bytes: [u8; CAPTURE],
}

/// [`Event::tcp_flags`] of what is no TCP segment, or too short to have any. No segment has this bit.
pub const NO_FLAGS: u32 = 0x100;

/// How much of a sampled packet is kept: two VLAN tags, an IPv6 header and a TCP header with every option.
pub const CAPTURE: usize = 128;

/// Value of `SAMPLER`, one per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sampler {
    /// Of all packets for applications and pools.
    pub traffic: crate::stride::Stride,
    /// Of the drops, so that those show where much else passes.
    pub drops: crate::stride::Stride,
}

/// Value of `ORPHANS`, one per CPU and application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Orphans {
    /// TCP segments that do not ask for a connection.
    pub segments: u64,
    /// Those among every [`limits::ORPHAN_STRIDE`](crate::limits::ORPHAN_STRIDE)th of them that belong to no connection.
    pub found: u64,
}

/// Who loaded an instance, and so who takes it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Owner {
    /// `spectrum load`: stays until `spectrum unload`.
    Load = 1,
    /// `spectrum run`: goes when the daemon ends in an orderly way.
    Run = 2,
}

/// The one value of `META`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Meta {
    /// [`VERSION`] of whoever made the maps.
    pub layout: u32,
    /// [`Owner`] as its number.
    pub owner: u32,
    /// Revision of the desired state that was applied last, 0 for none.
    pub revision: u64,
}

macro_rules! shared {
    ($($type:ty: $size:literal),* $(,)?) => {$(
        const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() <= 8);
        // SAFETY: `bytemuck::Pod` is derived, which proves no padding and that every bit pattern is valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    )*};
}

shared! {
    SteerKey: 24,
    SteerValue: 12,
    Policy: 12,
    crate::fair::Share: 20,
    crate::sketch::Cell: 8,
    RuleKeyV4: 8,
    RuleKeyV6: 20,
    ClassKey: 8,
    RuleValue: 12,
    ObjectId: 16,
    Count: 16,
    Event: 216,
    Sampler: 64,
    Meta: 16,
    Orphans: 16,
}
