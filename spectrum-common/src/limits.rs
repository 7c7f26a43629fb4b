//! Capacities of the kernel maps. What is over them is refused by `spectrum check`, before anything is applied.

/// Applications of one instance. Each costs `reason::SLOTS` counters per CPU.
pub const APPLICATIONS: usize = 2048;
/// Steering entries: one application on one address takes 1 to 30 of them.
pub const STEER: usize = 262_144;
/// Access rules of one instance, over all scopes.
pub const RULES: usize = 65_536;
/// Zones of one instance.
pub const ZONES: usize = 1024;
/// Distinct prefixes in each of the two rule tries, which take memory as they are filled.
pub const RULE_PREFIXES: usize = 1_048_576;
/// Listening sockets: one slot per transport, see `layout::listener_slot`.
pub const LISTENERS: usize = 2;
/// Bytes of the event ring buffer: a power of two and a multiple of the page size.
pub const EVENTS_BYTES: usize = 1 << 20;

/// VLAN tags that the parser looks through.
pub const VLAN_TAGS: usize = 2;
/// IPv6 extension headers that the parser looks through.
pub const IPV6_EXTENSIONS: usize = 4;

/// Sampled drops per CPU at once, and per second once those are used up.
pub const DROP_SAMPLES: u32 = 64;
/// Samples of all packets for applications and pools: per CPU at once.
pub const TRAFFIC_BURST: u32 = 64;
/// The same, per second once those are used up.
pub const TRAFFIC_SAMPLES: u32 = 256;

/// Of so many TCP segments one is asked whether it belongs to a connection, while nothing is wrong: a power of two.
pub const ORPHAN_STRIDE: u64 = 64;
