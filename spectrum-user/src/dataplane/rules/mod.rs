//! What a change of a few access rules takes: writes to what they name and to the prefixes within it, and to nothing
//! else. Pure. A whole image and its diff say the same (a property test holds it), in time that grows with every
//! prefix there is.

mod classes;
mod subtree;

use std::collections::{BTreeSet, HashMap, HashSet};

use spectrum_common::{
    geo,
    layout::{ClassKey, ObjectId, RuleKeyV4, RuleKeyV6, SCOPE_USER},
};

pub(super) use self::subtree::{covering, within};
use self::{
    classes::{Class, Classes},
    subtree::{Changes, Subtree},
};
use super::{
    diff::{ClassMap, NameMap, Op},
    image::{ImageError, MapImage, Prefix, RULES, RulePrefix, rule_prefix, said},
    numbers::{Exhausted, Names},
};
use crate::model::{AccessRule, RuleId, Scope, Target};

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
/// order that is safe (`diff`).
pub fn ops<'a>(
    image: &MapImage,
    change: RuleChange<'_>,
    rules: impl Iterator<Item = &'a AccessRule>,
) -> Result<Vec<Op>, ImageError> {
    let names = rename(&image.rules, change)?;
    let mut touched = Vec::new();
    for rule in change.removed.iter().chain(change.added) {
        touched.push(Place::of(rule, &image.zones)?);
    }
    let mut v4 = Subtree::of(touched.iter().filter_map(Place::v4));
    let mut v6 = Subtree::of(touched.iter().filter_map(Place::v6));
    let mut classes = Classes::of(touched.iter().filter_map(Place::class));
    let mut concerned: Vec<(Place, &AccessRule)> = Vec::new();
    for rule in rules {
        let place = Place::of(rule, &image.zones)?;
        if let Place::Class(class) = place {
            classes.meet(class, rule);
        }
        let is_concerned = match place {
            Place::Prefix(RulePrefix::V4(prefix)) => v4.holds(&prefix),
            Place::Prefix(RulePrefix::V6(prefix)) => v6.holds(&prefix),
            Place::Class(class) => classes.holds(class),
        };
        if is_concerned {
            concerned.push((place, rule));
        }
    }
    let numbers = numbers(&image.rules, &names.given, concerned.iter().map(|(_, rule)| rule.id.bytes()));
    for (place, rule) in concerned {
        let said = said(rule, numbers.get(&rule.id.bytes()).copied().unwrap_or_default());
        match place {
            Place::Prefix(RulePrefix::V4(prefix)) => v4.say(prefix, said),
            Place::Prefix(RulePrefix::V6(prefix)) => v6.say(prefix, said),
            Place::Class(class) => classes.say(class, said),
        }
    }
    let (v4, v6) = (v4.changes(&image.rules_v4)?, v6.changes(&image.rules_v6)?);
    Ok(in_order(&names, (&v4, &v6), &classes.changes(image)))
}

/// As `diff` has them: what is new stands before anything asks it, and what is old falls when nothing does.
fn in_order(
    names: &Renamed,
    (v4, v6): (&Changes<RuleKeyV4>, &Changes<RuleKeyV6>),
    classes: &classes::Changes,
) -> Vec<Op> {
    let mut ops: Vec<Op> =
        names.given.iter().map(|(number, id)| Op::Name(NameMap::Rules, *number, ObjectId { id: *id })).collect();
    // The more specific first.
    ops.extend(v4.set.iter().rev().map(|(prefix, value)| Op::SetRuleV4(*prefix, *value)));
    ops.extend(v6.set.iter().rev().map(|(prefix, value)| Op::SetRuleV6(*prefix, *value)));
    ops.extend(classes.set.iter().map(|((map, key), value)| Op::SetClassRule(*map, *key, *value)));
    ops.extend(classes.steer.iter().rev().map(|(prefix, value)| Op::SetSteer(*prefix, *value)));
    ops.extend(v4.gone.iter().map(|prefix| Op::RemoveRuleV4(*prefix)));
    ops.extend(v6.gone.iter().map(|prefix| Op::RemoveRuleV6(*prefix)));
    ops.extend(classes.gone.iter().map(|(map, key)| Op::RemoveClassRule(*map, *key)));
    ops.extend(names.forgotten.iter().map(|number| Op::Forget(NameMap::Rules, *number)));
    ops
}

/// Where a rule stands in the maps.
#[derive(Clone, Copy)]
enum Place {
    Prefix(RulePrefix),
    Class(Class),
}

impl Place {
    fn of(rule: &AccessRule, zones: &Names) -> Result<Self, ImageError> {
        let scope = scope_number(rule.scope, zones)?;
        let class = |map, number| Self::Class((map, ClassKey { scope, number }));
        Ok(match rule.target {
            Target::Prefix(net) => Self::Prefix(rule_prefix(scope, net)),
            Target::Asn(number) => class(ClassMap::Asn, number),
            Target::Country(country) => class(ClassMap::Country, geo::country(country.bytes())),
        })
    }

    fn v4(&self) -> Option<Prefix<RuleKeyV4>> {
        if let Self::Prefix(RulePrefix::V4(prefix)) = self { Some(*prefix) } else { None }
    }

    fn v6(&self) -> Option<Prefix<RuleKeyV6>> {
        if let Self::Prefix(RulePrefix::V6(prefix)) = self { Some(*prefix) } else { None }
    }

    fn class(&self) -> Option<Class> {
        if let Self::Class(class) = self { Some(*class) } else { None }
    }
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
        Op::SetClassRule(map, key, _) | Op::RemoveClassRule(map, key) => match image.class_rules(map).get(&key) {
            Some(value) => Op::SetClassRule(map, key, *value),
            None => Op::RemoveClassRule(map, key),
        },
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

#[cfg(test)]
mod tests;
