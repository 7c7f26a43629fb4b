//! What the kernel holds: dumps of the configuration maps, and sums of the counters.

use std::collections::BTreeMap;

use aya::maps::{
    Array, HashMap, IterableMap as _, Map, MapData, MapError, PerCpuValues,
    lpm_trie::{Key, LpmTrie},
};
use spectrum_common::{
    Reason,
    layout::{ClassKey, Count, Meta, RuleValue, app_counter},
    limits, names,
};

use super::{
    batch,
    image::{MapImage, Prefix},
    maps::{ConfigMaps, CounterMaps},
    numbers::Names,
    pins::Pins,
};

impl ConfigMaps {
    /// Everything that `apply` may have written.
    pub fn dump(&self) -> Result<MapImage, MapError> {
        Ok(MapImage {
            steer: trie(&self.steer)?,
            rules_v4: trie(&self.rules_v4)?,
            rules_v6: trie(&self.rules_v6)?,
            asn_rules: classes(&self.asn_rules)?,
            country_rules: classes(&self.country_rules)?,
            apps: numbered(&self.apps)?,
            rules: numbered(&self.rules)?,
            zones: numbered(&self.zones)?,
            policies: numbered(&self.policies)?,
        })
    }

    /// Which applications and rules the numbers stand for.
    pub fn names(&self) -> Result<(Names, Names), MapError> {
        Ok((numbered(&self.apps)?, numbered(&self.rules)?))
    }

    /// The META of pins that may be of another layout: only its first field has the same place in all of them.
    pub fn read_meta(pins: &Pins) -> Option<Meta> {
        let data = MapData::from_pin(pins.map(names::META)).ok()?;
        let map = Map::from_map_data(data).ok()?;
        Array::<_, Meta>::try_from(map).ok()?.get(&0, 0).ok()
    }

    pub fn meta(&self) -> Result<Meta, MapError> {
        self.meta.get(&0, 0)
    }
}

impl CounterMaps {
    /// Sum over CPUs since the maps were made.
    pub fn total(&self, reason: Reason) -> Result<Count, MapError> {
        self.counters.get(&reason.index(), 0).map(|per_cpu| sum(&per_cpu))
    }

    /// Requests for connections to an application, by its number.
    pub fn requests(&self, app: u32) -> Result<u64, MapError> {
        self.requests.get(&app, 0).map(|per_cpu| per_cpu.iter().sum())
    }

    /// Segments of no connection to an application, by its number: those that were looked at, each for as many as it stands
    /// for.
    pub fn orphans(&self, app: u32) -> Result<u64, MapError> {
        let per_cpu = self.orphans.get(&app, 0)?;
        Ok(per_cpu.iter().map(|orphans| orphans.found * limits::ORPHAN_STRIDE).sum())
    }

    /// As [`Self::total`], for one application's number.
    pub fn of_app(&self, app: u32, reason: Reason) -> Result<Count, MapError> {
        self.app_counters.get(&app_counter(app, reason), 0).map(|per_cpu| sum(&per_cpu))
    }
}

fn sum(per_cpu: &PerCpuValues<Count>) -> Count {
    per_cpu.iter().fold(Count::default(), |total, count| Count {
        packets: total.packets + count.packets,
        bytes: total.bytes + count.bytes,
    })
}

fn trie<K: aya::Pod + bytemuck::Pod + Ord, V: aya::Pod + bytemuck::Pod>(
    trie: &LpmTrie<MapData, K, V>,
) -> Result<BTreeMap<Prefix<K>, V>, MapError> {
    let mut entries = BTreeMap::new();
    // A key of the kernel's is its length in bits, and the bytes (`struct bpf_lpm_trie_key_u8`).
    batch::each(trie.map(), size_of::<Key<K>>(), |key, value| {
        if let Some((bits, key)) = key.split_first_chunk() {
            let key = bytemuck::pod_read_unaligned(key);
            entries.insert(Prefix { bits: u32::from_ne_bytes(*bits), key }, value);
        }
    })?;
    Ok(entries)
}

fn classes(rules: &HashMap<MapData, ClassKey, RuleValue>) -> Result<BTreeMap<ClassKey, RuleValue>, MapError> {
    let mut entries = BTreeMap::new();
    batch::each(rules.map(), size_of::<ClassKey>(), |key, value| {
        entries.insert(bytemuck::pod_read_unaligned(key), value);
    })?;
    Ok(entries)
}

/// The numbers in use. Arrays have no holes: a free number is all zero.
fn numbered<V: aya::Pod + bytemuck::Pod + Default + PartialEq>(
    array: &Array<MapData, V>,
) -> Result<BTreeMap<u32, V>, MapError> {
    let mut used = BTreeMap::new();
    batch::each(array.map(), size_of::<u32>(), |number, value| {
        if value != V::default() {
            used.insert(bytemuck::pod_read_unaligned(number), value);
        }
    })?;
    Ok(used)
}
