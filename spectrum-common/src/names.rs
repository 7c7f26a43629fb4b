//! Names of programs, maps and globals as the kernel shows them.
//!
//! The kernel cuts object names at 15 characters (`BPF_OBJ_NAME_LEN`), so none is longer.

/// The XDP program: parse, steering, access, verdict.
pub const XDP: &str = "spectrum_xdp";
/// The `sk_lookup` program: edge address and port to our listening socket.
pub const STEER_PROGRAM: &str = "spectrum_steer";

/// (protocol, edge address, port) to application.
pub const STEER: &str = "STEER";
/// Access rules for IPv4 sources.
pub const RULES_V4: &str = "RULES_V4";
/// Access rules for IPv6 sources.
pub const RULES_V6: &str = "RULES_V6";
/// What the access rules by prefix say, in a form that is quicker to ask.
pub const RULE_TABLE: &str = "RULE_TABLE";
/// Access rules by autonomous system.
pub const ASN_RULES: &str = "ASN_RULES";
/// Access rules by country.
pub const COUNTRY_RULES: &str = "COUNTRY_RULES";
/// Source address to autonomous system and country.
pub const GEO: &str = "GEO";
/// Listening sockets by transport.
pub const LISTENERS: &str = "LISTENERS";
/// Application number to its id.
pub const APPS: &str = "APPS";
/// Rule number to its id.
pub const RULES: &str = "RULES";
/// Zone number to its id.
pub const ZONES: &str = "ZONES";
/// Packets and bytes per reason.
pub const COUNTERS: &str = "COUNTERS";
/// Packets and bytes per application and reason.
pub const APP_COUNTERS: &str = "APP_COUNTERS";
/// Requests for connections per application.
pub const REQUESTS: &str = "REQUESTS";
/// Segments of no connection per application, by samples.
pub const ORPHANS: &str = "ORPHANS";
/// What userspace has switched on.
pub const MODE: &str = "MODE";
/// Application number to what it asks of its packets.
pub const POLICIES: &str = "POLICIES";
/// How each application's room is shared out.
pub const SHARES: &str = "SHARES";
/// How much sources have had, roughly.
pub const SKETCH: &str = "SKETCH";
/// Which lookup XDP is making, per CPU.
pub const QUESTION: &str = "QUESTION";
/// Sampled verdicts.
pub const EVENTS: &str = "EVENTS";
/// Which packets become [`EVENTS`], per CPU: few of them during a flood.
pub const SAMPLER: &str = "SAMPLER";
/// Where an event is put together, per CPU.
pub const DRAFT: &str = "DRAFT";
/// Layout version and who loaded this instance.
pub const META: &str = "META";

/// Every pinned map. `AYA_LOGS` belongs to the log crate and lives as long as its reader.
pub const MAPS: [&str; 24] = [
    STEER,
    RULES_V4,
    RULES_V6,
    RULE_TABLE,
    ASN_RULES,
    COUNTRY_RULES,
    GEO,
    LISTENERS,
    APPS,
    RULES,
    ZONES,
    COUNTERS,
    APP_COUNTERS,
    REQUESTS,
    ORPHANS,
    POLICIES,
    SHARES,
    SKETCH,
    MODE,
    QUESTION,
    EVENTS,
    SAMPLER,
    DRAFT,
    META,
];

/// Read-only global: 1 makes every verdict an event, whatever the sampler says (`spectrum why`).
pub const EXPLAIN: &str = "EXPLAIN";
/// Read-only global: what the hashes of `SKETCH` begin with.
pub const SEED: &str = "SEED";
/// Read-only global of aya-log: highest level that is logged, 0 for none.
pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";

#[expect(clippy::indexing_slicing, reason = "at compile time")]
const _: () = {
    let mut i = 0;
    while i < MAPS.len() {
        assert!(MAPS[i].len() <= 15, "the kernel cuts longer names");
        i += 1;
    }
    assert!(XDP.len() <= 15 && STEER_PROGRAM.len() <= 15);
};
