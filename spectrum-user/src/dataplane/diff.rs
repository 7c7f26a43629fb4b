//! From what the maps hold to what they should hold: pure, ordered, printable.
//!
//! The order keeps every moment in between safe (I8). Longest match decides in each trie, so specific entries are set
//! before general ones and removed after them: at no moment does a packet meet a third answer, only the old or the new
//! one. New rules stand before new traffic is steered, and old rules fall after old traffic is not. Names come first
//! and go last, so that whoever reads the maps can always tell what a number means.

use std::{collections::BTreeMap, fmt};

use spectrum_common::layout::{
    ClassKey, ObjectId, Policy, RuleKeyV4, RuleKeyV6, RuleValue, SteerKey, SteerValue, steer_flags,
};

use super::{
    image::{MapImage, Prefix, address},
    numbers::Names,
};

/// One write to one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Name(NameMap, u32, ObjectId),
    SetRuleV4(Prefix<RuleKeyV4>, RuleValue),
    SetRuleV6(Prefix<RuleKeyV6>, RuleValue),
    SetPolicy(u32, Policy),
    SetClassRule(ClassMap, ClassKey, RuleValue),
    SetSteer(Prefix<SteerKey>, SteerValue),
    RemoveSteer(Prefix<SteerKey>),
    RemoveRuleV4(Prefix<RuleKeyV4>),
    RemoveRuleV6(Prefix<RuleKeyV6>),
    RemovePolicy(u32),
    RemoveClassRule(ClassMap, ClassKey),
    Forget(NameMap, u32),
}

/// Which map of rules by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClassMap {
    Asn,
    Country,
}

impl ClassMap {
    /// Set in what is steered to an application that asks this map.
    pub const fn flag(self) -> u32 {
        match self {
            Self::Asn => steer_flags::ASN_RULES,
            Self::Country => steer_flags::COUNTRY_RULES,
        }
    }
}

/// Which naming map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameMap {
    Apps,
    Rules,
    Zones,
}

impl MapImage {
    /// What a write does to the maps, done to their image.
    pub fn write(&mut self, op: Op) {
        match op {
            Op::Name(map, number, id) => drop(self.names(map).insert(number, id)),
            Op::Forget(map, number) => drop(self.names(map).remove(&number)),
            Op::SetRuleV4(prefix, value) => drop(self.rules_v4.insert(prefix, value)),
            Op::SetRuleV6(prefix, value) => drop(self.rules_v6.insert(prefix, value)),
            Op::SetPolicy(app, policy) => drop(self.policies.insert(app, policy)),
            Op::RemovePolicy(app) => drop(self.policies.remove(&app)),
            Op::SetSteer(prefix, value) => drop(self.steer.insert(prefix, value)),
            Op::RemoveSteer(prefix) => drop(self.steer.remove(&prefix)),
            Op::RemoveRuleV4(prefix) => drop(self.rules_v4.remove(&prefix)),
            Op::RemoveRuleV6(prefix) => drop(self.rules_v6.remove(&prefix)),
            Op::SetClassRule(map, key, value) => drop(self.class_rules_mut(map).insert(key, value)),
            Op::RemoveClassRule(map, key) => drop(self.class_rules_mut(map).remove(&key)),
        }
    }

    /// What a number means.
    pub fn named(&self, map: NameMap, number: u32) -> Option<ObjectId> {
        let names = match map {
            NameMap::Apps => &self.apps,
            NameMap::Rules => &self.rules,
            NameMap::Zones => &self.zones,
        };
        names.get(&number).copied()
    }

    /// The rules by network, or by country.
    pub fn class_rules(&self, map: ClassMap) -> &BTreeMap<ClassKey, RuleValue> {
        match map {
            ClassMap::Asn => &self.asn_rules,
            ClassMap::Country => &self.country_rules,
        }
    }

    fn class_rules_mut(&mut self, map: ClassMap) -> &mut BTreeMap<ClassKey, RuleValue> {
        match map {
            ClassMap::Asn => &mut self.asn_rules,
            ClassMap::Country => &mut self.country_rules,
        }
    }

    fn names(&mut self, map: NameMap) -> &mut Names {
        match map {
            NameMap::Apps => &mut self.apps,
            NameMap::Rules => &mut self.rules,
            NameMap::Zones => &mut self.zones,
        }
    }
}

/// The writes that turn `have` into `want`, in the order that is safe.
pub fn diff(have: &MapImage, want: &MapImage) -> Vec<Op> {
    let mut ops = Vec::new();
    let naming = [
        (NameMap::Zones, &have.zones, &want.zones),
        (NameMap::Rules, &have.rules, &want.rules),
        (NameMap::Apps, &have.apps, &want.apps),
    ];
    for (map, have, want) in naming {
        ops.extend(changed(have, want).map(|(number, id)| Op::Name(map, *number, *id)));
    }
    // The maps sort general before specific.
    ops.extend(changed(&have.rules_v4, &want.rules_v4).rev().map(|(p, v)| Op::SetRuleV4(*p, *v)));
    ops.extend(changed(&have.rules_v6, &want.rules_v6).rev().map(|(p, v)| Op::SetRuleV6(*p, *v)));
    ops.extend(changed(&have.policies, &want.policies).map(|(app, policy)| Op::SetPolicy(*app, *policy)));
    let classes = [
        (ClassMap::Asn, &have.asn_rules, &want.asn_rules),
        (ClassMap::Country, &have.country_rules, &want.country_rules),
    ];
    for (map, have, want) in classes {
        ops.extend(changed(have, want).map(|(key, value)| Op::SetClassRule(map, *key, *value)));
    }
    ops.extend(changed(&have.steer, &want.steer).rev().map(|(p, v)| Op::SetSteer(*p, *v)));
    ops.extend(gone(&have.steer, &want.steer).map(|p| Op::RemoveSteer(*p)));
    ops.extend(gone(&have.rules_v4, &want.rules_v4).map(|p| Op::RemoveRuleV4(*p)));
    ops.extend(gone(&have.rules_v6, &want.rules_v6).map(|p| Op::RemoveRuleV6(*p)));
    ops.extend(gone(&have.policies, &want.policies).map(|app| Op::RemovePolicy(*app)));
    for (map, have, want) in classes {
        ops.extend(gone(have, want).map(|key| Op::RemoveClassRule(map, *key)));
    }
    for (map, have, want) in naming {
        ops.extend(forgotten(have, want).map(|number| Op::Forget(map, number)));
    }
    ops
}

fn changed<'a, K: Ord, V: PartialEq>(
    have: &'a BTreeMap<K, V>,
    want: &'a BTreeMap<K, V>,
) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)> {
    want.iter().filter(|(key, value)| have.get(key) != Some(value))
}

fn gone<'a, K: Ord, V>(have: &'a BTreeMap<K, V>, want: &'a BTreeMap<K, V>) -> impl Iterator<Item = &'a K> {
    have.keys().filter(|key| !want.contains_key(key))
}

fn forgotten<'a>(have: &'a Names, want: &'a Names) -> impl Iterator<Item = u32> + 'a {
    gone(have, want).copied()
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(map, number, id) => write!(f, "name {map} {number}: {:032x}", u128::from_be_bytes(id.id)),
            Self::Forget(map, number) => write!(f, "forget {map} {number}"),
            Self::SetPolicy(app, Policy { limits, udp_filters }) => {
                let (source, total) = (limits.per_source, limits.total);
                write!(f, "policy of application {app}: {source} per source, {total} in all, UDP filters {udp_filters}")
            }
            Self::RemovePolicy(app) => write!(f, "policy of application {app}: none"),
            Self::SetSteer(prefix, value) => {
                write!(f, "steer {} to application {} flags {}", Steered(prefix), value.app, value.flags)
            }
            Self::RemoveSteer(prefix) => write!(f, "no longer steer {}", Steered(prefix)),
            Self::SetRuleV4(prefix, value) => {
                write!(f, "rule {}: {value:?}", Ruled(prefix.key.address.as_slice(), prefix.bits))
            }
            Self::SetRuleV6(prefix, value) => {
                write!(f, "rule {}: {value:?}", Ruled(prefix.key.address.as_slice(), prefix.bits))
            }
            Self::SetClassRule(map, key, value) => write!(f, "rule {}: {value:?}", Classed(*map, key)),
            Self::RemoveClassRule(map, key) => write!(f, "no rule {}", Classed(*map, key)),
            Self::RemoveRuleV4(prefix) => write!(f, "no rule {}", Ruled(prefix.key.address.as_slice(), prefix.bits)),
            Self::RemoveRuleV6(prefix) => write!(f, "no rule {}", Ruled(prefix.key.address.as_slice(), prefix.bits)),
        }
    }
}

impl fmt::Display for NameMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apps => "application",
            Self::Rules => "rule",
            Self::Zones => "zone",
        })
    }
}

/// A steering prefix for people.
struct Steered<'a>(&'a Prefix<SteerKey>);

impl fmt::Display for Steered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prefix { bits, key } = self.0;
        let port = u16::from_be_bytes(key.port);
        write!(f, "protocol {} {} port {port} ({bits} bits)", key.protocol, address(key.address))
    }
}

/// A network or a country for people.
struct Classed<'a>(ClassMap, &'a ClassKey);

impl fmt::Display for Classed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(map, ClassKey { scope, number }) = self;
        match map {
            ClassMap::Asn => write!(f, "AS{number} of scope {scope}"),
            ClassMap::Country => {
                let [.., first, second] = number.to_be_bytes();
                write!(f, "{}{} of scope {scope}", char::from(first), char::from(second))
            }
        }
    }
}

/// The address part of a rule prefix for people.
struct Ruled<'a>(&'a [u8], u32);

impl fmt::Display for Ruled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, " ({} bits)", self.1)
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
