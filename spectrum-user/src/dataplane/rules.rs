//! What a change of a few access rules takes: writes to the prefixes that they name and to those within them, and to no
//! others. Pure. A whole image and its diff say the same (a property test holds it), in time that grows with every
//! prefix there is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use spectrum_common::{
    layout::{ObjectId, RuleValue, SCOPE_USER},
    limits,
};

use super::{
    diff::{ClassMap, NameMap, Op},
    image::{ImageError, MapImage, Prefix, RULES, RulePrefix, SCOPE_BITS, add, inherit, rule_prefix, said, truncate},
    numbers::{Exhausted, Names},
};
use crate::model::{AccessRule, RuleId, Scope};

/// Rules that go and rules that come. One in both is changed, and keeps its number.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleChange<'a> {
    pub removed: &'a [AccessRule],
    pub added: &'a [AccessRule],
}

impl<'a> RuleChange<'a> {
    /// All rules after the change. One that changes keeps its place.
    pub fn of(self, rules: &'a [AccessRule]) -> impl Iterator<Item = &'a AccessRule> + Clone {
        let stays = move |rule: &'a AccessRule| {
            let gone = self.removed.iter().any(|gone| gone.id == rule.id);
            if gone { self.added.iter().find(|new| new.id == rule.id) } else { Some(rule) }
        };
        let comes = move |new: &&AccessRule| self.removed.iter().all(|gone| gone.id != new.id);
        rules.iter().filter_map(stays).chain(self.added.iter().filter(comes))
    }

    /// The same of a change of many rules, in time that grows with their number and not with its square.
    pub fn whole(self, rules: &[AccessRule]) -> Vec<AccessRule> {
        let gone: HashSet<RuleId> = self.removed.iter().map(|rule| rule.id).collect();
        let mut new: HashMap<RuleId, &AccessRule> = self.added.iter().map(|rule| (rule.id, rule)).collect();
        let stays = |rule: &AccessRule| {
            if gone.contains(&rule.id) { new.remove(&rule.id).cloned() } else { Some(rule.clone()) }
        };
        let mut after: Vec<AccessRule> = rules.iter().filter_map(stays).collect();
        after.extend(self.added.iter().filter(|rule| !gone.contains(&rule.id)).cloned());
        after
    }
}

/// The writes that make of `image` what it is with `rules`, which are all that there are after the change, in the
/// order that is safe (`diff`). None: the change is not one of prefixes alone, and takes a whole image.
pub fn ops<'a>(
    image: &MapImage,
    change: RuleChange<'_>,
    rules: impl Iterator<Item = &'a AccessRule>,
) -> Result<Option<Vec<Op>>, ImageError> {
    let mut touched = Vec::new();
    for rule in change.removed.iter().chain(change.added) {
        let Some(net) = rule.target.prefix() else { return Ok(None) };
        touched.push(rule_prefix(scope_number(rule.scope, &image.zones)?, net));
    }
    let names = rename(&image.rules, change)?;
    let mut v4 = Subtree::of(&touched, |prefix| if let RulePrefix::V4(prefix) = prefix { Some(*prefix) } else { None });
    let mut v6 = Subtree::of(&touched, |prefix| if let RulePrefix::V6(prefix) = prefix { Some(*prefix) } else { None });
    let mut within: Vec<(RulePrefix, &AccessRule)> = Vec::new();
    for rule in rules {
        let Some(net) = rule.target.prefix() else { continue };
        let prefix = rule_prefix(scope_number(rule.scope, &image.zones)?, net);
        let concerned = match prefix {
            RulePrefix::V4(prefix) => v4.holds(&prefix),
            RulePrefix::V6(prefix) => v6.holds(&prefix),
        };
        if concerned {
            within.push((prefix, rule));
        }
    }
    let numbers = numbers(&image.rules, &names.given, within.iter().map(|(_, rule)| rule.id.bytes()));
    for (prefix, rule) in within {
        let said = said(rule, numbers.get(&rule.id.bytes()).copied().unwrap_or_default());
        match prefix {
            RulePrefix::V4(prefix) => add(&mut v4.own, prefix, said),
            RulePrefix::V6(prefix) => add(&mut v6.own, prefix, said),
        }
    }
    let (v4, v6) = (v4.changes(&image.rules_v4), v6.changes(&image.rules_v6));
    room(&image.rules_v4, &v4)?;
    room(&image.rules_v6, &v6)?;
    let mut ops: Vec<Op> =
        names.given.iter().map(|(number, id)| Op::Name(NameMap::Rules, *number, ObjectId { id: *id })).collect();
    ops.extend(v4.set.iter().rev().map(|(prefix, value)| Op::SetRuleV4(*prefix, *value)));
    ops.extend(v6.set.iter().rev().map(|(prefix, value)| Op::SetRuleV6(*prefix, *value)));
    ops.extend(v4.gone.iter().map(|prefix| Op::RemoveRuleV4(*prefix)));
    ops.extend(v6.gone.iter().map(|prefix| Op::RemoveRuleV6(*prefix)));
    ops.extend(names.forgotten.iter().map(|number| Op::Forget(NameMap::Rules, *number)));
    Ok(Some(ops))
}

/// The writes that take `ops` back, in their order, for maps that are as `image` before them.
pub fn undo(image: &MapImage, ops: &[Op]) -> Vec<Op> {
    let back = |op: &Op| match *op {
        Op::Name(map, number, _) | Op::Forget(map, number) => match image.named(map, number) {
            Some(id) => Op::Name(map, number, id),
            None => Op::Forget(map, number),
        },
        Op::SetRuleV4(prefix, _) | Op::RemoveRuleV4(prefix) => match image.rules_v4.get(&prefix) {
            Some(value) => Op::SetRuleV4(prefix, *value),
            None => Op::RemoveRuleV4(prefix),
        },
        Op::SetRuleV6(prefix, _) | Op::RemoveRuleV6(prefix) => match image.rules_v6.get(&prefix) {
            Some(value) => Op::SetRuleV6(prefix, *value),
            None => Op::RemoveRuleV6(prefix),
        },
        Op::SetClassRule(map, key, _) | Op::RemoveClassRule(map, key) => {
            let rules = match map {
                ClassMap::Asn => &image.asn_rules,
                ClassMap::Country => &image.country_rules,
            };
            match rules.get(&key) {
                Some(value) => Op::SetClassRule(map, key, *value),
                None => Op::RemoveClassRule(map, key),
            }
        }
        Op::SetPolicy(app, _) | Op::RemovePolicy(app) => match image.policies.get(&app) {
            Some(policy) => Op::SetPolicy(app, *policy),
            None => Op::RemovePolicy(app),
        },
        Op::SetSteer(prefix, _) | Op::RemoveSteer(prefix) => match image.steer.get(&prefix) {
            Some(value) => Op::SetSteer(prefix, *value),
            None => Op::RemoveSteer(prefix),
        },
    };
    ops.iter().rev().map(back).collect()
}

fn scope_number(scope: Scope, zones: &Names) -> Result<u32, ImageError> {
    match scope {
        Scope::User => Ok(SCOPE_USER),
        Scope::Zone(zone) => {
            let named = zones.iter().find(|(_, name)| name.id == zone.bytes());
            named.map(|(number, _)| *number).ok_or(ImageError::UnknownZone(zone))
        }
    }
}

/// Numbers that get a name, and numbers that lose theirs.
struct Renamed {
    given: Vec<(u32, [u8; 16])>,
    forgotten: Vec<u32>,
}

fn rename(names: &Names, change: RuleChange<'_>) -> Result<Renamed, ImageError> {
    let leaving: BTreeSet<_> = change.removed.iter().map(|rule| rule.id.bytes()).collect();
    let staying: BTreeSet<_> = change.added.iter().map(|rule| rule.id.bytes()).collect();
    let mut forgotten = Vec::new();
    let mut coming = staying.clone();
    for (number, name) in names {
        coming.remove(&name.id);
        if leaving.contains(&name.id) && !staying.contains(&name.id) {
            forgotten.push(*number);
        }
    }
    // A number that this change frees is not given away by it.
    let mut used = names.keys().copied().peekable();
    let mut free = (RULES.first..).take_while(|number| (*number as usize) < RULES.capacity).filter(|number| {
        while used.next_if(|other| other < number).is_some() {}
        used.next_if_eq(number).is_none()
    });
    let capacity = RULES.capacity - RULES.first as usize;
    let exhausted = Exhausted { kind: RULES.kind, wanted: names.len() + coming.len(), capacity };
    let given = coming.into_iter().map(|id| free.next().map(|number| (number, id)).ok_or_else(|| exhausted.clone()));
    Ok(Renamed { given: given.collect::<Result<_, _>>()?, forgotten })
}

/// The numbers of these ids.
fn numbers(names: &Names, given: &[(u32, [u8; 16])], ids: impl Iterator<Item = [u8; 16]>) -> HashMap<[u8; 16], u32> {
    let mut numbers: HashMap<[u8; 16], u32> = ids.map(|id| (id, 0)).collect();
    let known = names.iter().map(|(number, name)| (*number, name.id));
    for (number, id) in known.chain(given.iter().copied()) {
        if let Some(known) = numbers.get_mut(&id) {
            *known = number;
        }
    }
    numbers
}

/// The prefixes that a change concerns, of one family.
struct Subtree<K> {
    /// None of them within another one.
    roots: Vec<Prefix<K>>,
    /// What rules say at each prefix within them.
    own: BTreeMap<Prefix<K>, RuleValue>,
}

struct Changes<K> {
    set: BTreeMap<Prefix<K>, RuleValue>,
    gone: BTreeSet<Prefix<K>>,
}

impl<K: Ord + Copy + bytemuck::Pod> Subtree<K> {
    fn of(touched: &[RulePrefix], family: impl Fn(&RulePrefix) -> Option<Prefix<K>>) -> Self {
        let mut sorted: Vec<Prefix<K>> = touched.iter().filter_map(family).collect();
        sorted.sort_unstable();
        let mut roots: Vec<Prefix<K>> = Vec::new();
        for prefix in sorted {
            if !roots.iter().any(|root| root.covers(&prefix)) {
                roots.push(prefix);
            }
        }
        Self { roots, own: BTreeMap::new() }
    }

    fn holds(&self, prefix: &Prefix<K>) -> bool {
        self.roots.iter().any(|root| root.covers(prefix))
    }

    fn changes(self, whole: &BTreeMap<Prefix<K>, RuleValue>) -> Changes<K> {
        let mut changes = Changes { set: BTreeMap::new(), gone: BTreeSet::new() };
        for root in self.roots {
            let covering = covering(whole, root);
            let own = self.own.iter().filter(|(prefix, _)| root.covers(prefix)).map(|(prefix, own)| (*prefix, *own));
            let want = inherit(own.collect(), covering.copied().unwrap_or_default());
            changes
                .gone
                .extend(within(whole, root).map(|(prefix, _)| prefix).filter(|prefix| !want.contains_key(prefix)));
            changes.set.extend(want.into_iter().filter(|(prefix, value)| whole.get(prefix) != Some(value)));
        }
        changes
    }
}

/// What a trie says where only prefixes that cover `root` speak.
pub(super) fn covering<K: Ord + Copy + bytemuck::Pod>(
    whole: &BTreeMap<Prefix<K>, RuleValue>,
    root: Prefix<K>,
) -> Option<&RuleValue> {
    (SCOPE_BITS..root.bits).rev().find_map(|bits| whole.get(&truncate(root, bits)))
}

/// What a trie says at `root` and at the prefixes within it.
pub(super) fn within<K: Ord + Copy + bytemuck::Pod>(
    whole: &BTreeMap<Prefix<K>, RuleValue>,
    root: Prefix<K>,
) -> impl Iterator<Item = (Prefix<K>, RuleValue)> + '_ {
    let longest = u32::try_from(size_of::<K>()).unwrap_or_default() * u8::BITS;
    let last = last(root);
    let of_length = move |bits| whole.range(Prefix { bits, key: root.key }..=Prefix { bits, key: last });
    (root.bits..=longest).flat_map(of_length).map(|(prefix, value)| (*prefix, *value))
}

/// The last key that a prefix covers.
fn last<K: bytemuck::Pod>(prefix: Prefix<K>) -> K {
    let mut key = prefix.key;
    let kept = prefix.bits as usize / 8;
    for (i, byte) in bytemuck::bytes_of_mut(&mut key).iter_mut().enumerate().skip(kept) {
        *byte |= if i == kept { 0xff_u8 >> (prefix.bits % 8) } else { 0xff };
    }
    key
}

fn room<K: Ord>(whole: &BTreeMap<Prefix<K>, RuleValue>, changes: &Changes<K>) -> Result<(), ImageError> {
    // New ones are set before old ones go.
    let wanted = whole.len() + changes.set.keys().filter(|prefix| !whole.contains_key(prefix)).count();
    if wanted > limits::RULE_PREFIXES { Err(ImageError::RulePrefixes { wanted }) } else { Ok(()) }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
