//! Every map, with why it is there. Configuration maps are written by userspace alone (I7).

use aya_ebpf::{
    Global,
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, PerCpuArray, RingBuf, SockMap},
    macros::btf_map,
};
use spectrum_common::{
    fair::Share,
    layout::{
        ClassKey, Count, Event, Meta, ObjectId, Orphans, Policy, RuleKeyV4, RuleKeyV6, RuleValue, Sampler, SteerKey,
        SteerValue,
    },
    limits,
    reason::SLOTS,
    sketch::{self, Cell},
    table,
};

/// Who owns a destination. The longest prefix decides, and the port is its last part.
#[btf_map]
pub(crate) static STEER: LpmTrie<SteerKey, SteerValue, { limits::STEER }> = LpmTrie::new();

/// What the access rules say about an IPv4 source. One longest match is the whole answer of a scope.
#[btf_map]
pub(crate) static RULES_V4: LpmTrie<RuleKeyV4, RuleValue, { limits::RULE_PREFIXES }> = LpmTrie::new();

/// What the access rules say about an IPv6 source.
#[btf_map]
pub(crate) static RULES_V6: LpmTrie<RuleKeyV6, RuleValue, { limits::RULE_PREFIXES }> = LpmTrie::new();

/// What both say, as a table that a new one replaces whole, or in parts. Where there is none, they are asked.
#[btf_map]
pub(crate) static RULE_TABLE: ArrayOfMaps<Table, 1> = ArrayOfMaps::new();

/// What the access rules say about an autonomous system. Elements are made as rules are: there are few, or none.
#[btf_map]
pub(crate) static ASN_RULES: HashMap<ClassKey, RuleValue, { limits::RULES }, NO_PREALLOC> = HashMap::new();

/// What the access rules say about a country.
#[btf_map]
pub(crate) static COUNTRY_RULES: HashMap<ClassKey, RuleValue, { limits::RULES }, NO_PREALLOC> = HashMap::new();

const NO_PREALLOC: usize = aya_ebpf::bindings::BPF_F_NO_PREALLOC as usize;

/// Which network and country a source is of: a table in an array of its own, which a new one replaces whole.
#[btf_map]
pub(crate) static GEO: ArrayOfMaps<Table, 1> = ArrayOfMaps::new();

/// What a table must look like; each has its own size.
pub(crate) type Table = Array<table::Node, 1, { table::MAP_FLAGS as usize }>;

/// The listening socket of each transport; its reuseport group spreads connections over the workers.
#[btf_map]
pub(crate) static LISTENERS: SockMap<{ limits::LISTENERS }> = SockMap::new();

/// Which application a number stands for. Not read here: for whoever reads the maps.
#[btf_map]
pub(crate) static APPS: Array<ObjectId, { limits::APPLICATIONS }> = Array::new();

/// Which rule a number stands for. Not read here: for whoever reads the maps.
#[btf_map]
pub(crate) static RULES: Array<ObjectId, { limits::RULES }> = Array::new();

/// Which zone a number stands for. Not read here: for whoever reads the maps.
#[btf_map]
pub(crate) static ZONES: Array<ObjectId, { limits::ZONES }> = Array::new();

/// Packets and bytes per reason.
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Count, { SLOTS as usize }> = PerCpuArray::new();

/// Packets and bytes per application and reason.
#[btf_map]
pub(crate) static APP_COUNTERS: PerCpuArray<Count, { limits::APPLICATIONS * SLOTS as usize }> = PerCpuArray::new();

/// The lookup that XDP on this CPU is making, 0 for none: the steering program is not to search for it.
#[btf_map]
pub(crate) static QUESTION: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Bits of `mode`: what userspace has switched on for as long as a flood lasts.
#[btf_map]
pub(crate) static MODE: Array<u32, 1> = Array::new();

/// TCP segments that ask an application for a connection, per application: what userspace sees a flood by.
#[btf_map]
pub(crate) static REQUESTS: PerCpuArray<u64, { limits::APPLICATIONS }> = PerCpuArray::new();

/// TCP segments of no connection, per application and by samples: what userspace sees floods of them by.
#[btf_map]
pub(crate) static ORPHANS: PerCpuArray<Orphans, { limits::APPLICATIONS }> = PerCpuArray::new();

/// What an application asks of its packets beside access.
#[btf_map]
pub(crate) static POLICIES: Array<Policy, { limits::APPLICATIONS }> = Array::new();

/// How an application's room is shared out among its sources.
#[btf_map]
pub(crate) static SHARES: Array<Share, { limits::APPLICATIONS }> = Array::new();

/// How much sources have had in the running second. Cells, not sources: it never grows (I16). Shared by all CPUs, because
/// a source's packets come in by several.
#[btf_map]
pub(crate) static SKETCH: Array<Cell, { sketch::ROWS * sketch::WIDTH }> = Array::new();

/// Sampled verdicts.
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { limits::EVENTS_BYTES }> = RingBuf::new();

/// Which packets become events: few of them during a flood.
#[btf_map]
pub(crate) static SAMPLER: PerCpuArray<Sampler, 1> = PerCpuArray::new();

/// Where an event is put together: the stack has no room for a packet's bytes.
#[btf_map]
pub(crate) static DRAFT: PerCpuArray<Event, 1> = PerCpuArray::new();

/// Layout version and owner of this instance. Not read here: userspace refuses pins of another layout by it.
#[btf_map]
pub(crate) static META: Array<Meta, 1> = Array::new();

/// 1: every verdict is an event. Set before loading, so that the verifier removes the branch it rules out.
#[unsafe(no_mangle)]
pub(crate) static EXPLAIN: Global<u8> = Global::new(0);

/// What the hashes of `SKETCH` begin with. Set before loading, to what nobody outside knows: else one could choose sources
/// that share a cell with somebody else's.
#[unsafe(no_mangle)]
pub(crate) static SEED: Global<u64> = Global::new(0);
