//! The maps as typed handles: the only place that knows aya's map types.

use aya::{
    Ebpf, Pod,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf, SockMap, lpm_trie::LpmTrie},
};
use spectrum_common::{
    fair::Share,
    layout::{ClassKey, Count, Meta, ObjectId, Orphans, Policy, RuleKeyV4, RuleKeyV6, RuleValue, SteerKey, SteerValue},
    limits, names,
    reason::SLOTS,
    sketch::{self, Cell},
    table,
};

use super::pins::Pins;

/// Maps that userspace writes. Writing is `apply`'s alone (I7).
pub struct ConfigMaps {
    pub(super) steer: LpmTrie<MapData, SteerKey, SteerValue>,
    pub(super) rules_v4: LpmTrie<MapData, RuleKeyV4, RuleValue>,
    pub(super) rules_v6: LpmTrie<MapData, RuleKeyV6, RuleValue>,
    pub(super) rule_table: ArrayOfMaps<MapData, TableArray>,
    pub(super) asn_rules: HashMap<MapData, ClassKey, RuleValue>,
    pub(super) country_rules: HashMap<MapData, ClassKey, RuleValue>,
    pub(super) geo: ArrayOfMaps<MapData, TableArray>,
    pub(super) apps: Array<MapData, ObjectId>,
    pub(super) rules: Array<MapData, ObjectId>,
    pub(super) zones: Array<MapData, ObjectId>,
    pub(super) policies: Array<MapData, Policy>,
    pub(super) app_counters: PerCpuArray<MapData, Count>,
    pub(super) meta: Array<MapData, Meta>,
    pub(super) listeners: SockMap<MapData>,
    pub(super) mode: Array<MapData, u32>,
}

/// What `GEO` and `RULE_TABLE` hold: one table.
pub type TableArray = Array<MapData, table::Node>;

/// Maps that the kernel programs write.
pub struct CounterMaps {
    pub(super) counters: PerCpuArray<MapData, Count>,
    pub(super) app_counters: PerCpuArray<MapData, Count>,
    pub(super) requests: PerCpuArray<MapData, u64>,
    pub(super) orphans: PerCpuArray<MapData, Orphans>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenMapError {
    #[error("map {0} is missing")]
    Missing(&'static str),
    #[error("map {name}")]
    Map {
        name: &'static str,
        #[source]
        source: MapError,
    },
}

/// Where handles come from.
pub enum MapSource<'a> {
    /// Pins of an instance.
    Pins(&'a Pins),
    /// A loaded object whose maps nobody pinned; each map can be taken once.
    Object(&'a mut Ebpf),
}

impl MapSource<'_> {
    fn data(&mut self, name: &'static str) -> Result<Map, OpenMapError> {
        let map = |source| OpenMapError::Map { name, source };
        match self {
            Self::Pins(pins) => {
                let data = MapData::from_pin(pins.map(name)).map_err(map)?;
                Map::from_map_data(data).map_err(map)
            }
            Self::Object(ebpf) => ebpf.take_map(name).ok_or(OpenMapError::Missing(name)),
        }
    }

    fn open<T: TryFrom<Map, Error = MapError>>(&mut self, name: &'static str) -> Result<T, OpenMapError> {
        T::try_from(self.data(name)?).map_err(|source| OpenMapError::Map { name, source })
    }
}

impl ConfigMaps {
    pub fn open(mut source: MapSource<'_>) -> Result<Self, OpenMapError> {
        Ok(Self {
            steer: source.open(names::STEER)?,
            rules_v4: source.open(names::RULES_V4)?,
            rules_v6: source.open(names::RULES_V6)?,
            rule_table: source.open(names::RULE_TABLE)?,
            asn_rules: source.open(names::ASN_RULES)?,
            country_rules: source.open(names::COUNTRY_RULES)?,
            geo: source.open(names::GEO)?,
            apps: source.open(names::APPS)?,
            rules: source.open(names::RULES)?,
            zones: source.open(names::ZONES)?,
            policies: source.open(names::POLICIES)?,
            app_counters: source.open(names::APP_COUNTERS)?,
            meta: source.open(names::META)?,
            listeners: source.open(names::LISTENERS)?,
            mode: source.open(names::MODE)?,
        })
    }
}

impl CounterMaps {
    pub fn open(mut source: MapSource<'_>) -> Result<Self, OpenMapError> {
        Ok(Self {
            counters: source.open(names::COUNTERS)?,
            app_counters: source.open(names::APP_COUNTERS)?,
            requests: source.open(names::REQUESTS)?,
            orphans: source.open(names::ORPHANS)?,
        })
    }
}

/// The ring buffer of sampled verdicts.
pub fn open_events(mut source: MapSource<'_>) -> Result<RingBuf<MapData>, OpenMapError> {
    source.open(names::EVENTS)
}

/// What userspace has switched on, of an object that nobody pinned: for questions.
pub(super) fn open_private_mode(ebpf: &mut Ebpf) -> Result<Array<MapData, u32>, OpenMapError> {
    MapSource::Object(ebpf).open(names::MODE)
}

/// Key size, value size and capacity that this build expects of a pinned map.
pub struct Expected {
    pub name: &'static str,
    pub key: usize,
    pub value: usize,
    pub entries: usize,
}

/// What a pinned map must look like before it is used.
pub const EXPECTED: [Expected; 19] = [
    lpm::<SteerKey, SteerValue>(names::STEER, limits::STEER),
    lpm::<RuleKeyV4, RuleValue>(names::RULES_V4, limits::RULE_PREFIXES),
    lpm::<RuleKeyV6, RuleValue>(names::RULES_V6, limits::RULE_PREFIXES),
    array::<u32>(names::RULE_TABLE, 1),
    hash::<ClassKey, RuleValue>(names::ASN_RULES, limits::RULES),
    hash::<ClassKey, RuleValue>(names::COUNTRY_RULES, limits::RULES),
    array::<u32>(names::GEO, 1),
    array::<ObjectId>(names::APPS, limits::APPLICATIONS),
    array::<ObjectId>(names::RULES, limits::RULES),
    array::<ObjectId>(names::ZONES, limits::ZONES),
    array::<Count>(names::COUNTERS, SLOTS as usize),
    array::<Count>(names::APP_COUNTERS, limits::APPLICATIONS * SLOTS as usize),
    array::<u64>(names::REQUESTS, limits::APPLICATIONS),
    array::<Orphans>(names::ORPHANS, limits::APPLICATIONS),
    array::<Policy>(names::POLICIES, limits::APPLICATIONS),
    array::<Share>(names::SHARES, limits::APPLICATIONS),
    array::<Cell>(names::SKETCH, sketch::ROWS * sketch::WIDTH),
    array::<u32>(names::MODE, 1),
    array::<Meta>(names::META, 1),
];

const fn lpm<K: Pod, V: Pod>(name: &'static str, entries: usize) -> Expected {
    Expected { name, key: size_of::<u32>() + size_of::<K>(), value: size_of::<V>(), entries }
}

const fn hash<K: Pod, V: Pod>(name: &'static str, entries: usize) -> Expected {
    Expected { name, key: size_of::<K>(), value: size_of::<V>(), entries }
}

const fn array<V: Pod>(name: &'static str, entries: usize) -> Expected {
    Expected { name, key: size_of::<u32>(), value: size_of::<V>(), entries }
}
