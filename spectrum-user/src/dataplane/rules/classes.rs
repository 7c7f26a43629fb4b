//! The rules by network and by country that a change concerns, and the applications that ask them from now on or no more.

use std::collections::{BTreeMap, BTreeSet};

use spectrum_common::layout::{ClassKey, RuleValue, SCOPE_USER, SteerKey, SteerValue, steer_flags};

use crate::{
    dataplane::{
        diff::ClassMap,
        image::{MapImage, Prefix, add},
    },
    model::{AccessRule, RuleMode},
};

/// A network or a country in a scope.
pub(super) type Class = (ClassMap, ClassKey);

pub(super) struct Classes {
    touched: BTreeSet<Class>,
    /// What rules say of each that is touched.
    said: BTreeMap<Class, RuleValue>,
    /// By scope: which kinds of rules speak in it.
    speaking: BTreeMap<u32, u32>,
}

/// The writes to the maps of rules by class, and to the applications that ask them.
pub(super) struct Changes {
    pub(super) set: BTreeMap<Class, RuleValue>,
    pub(super) steer: BTreeMap<Prefix<SteerKey>, SteerValue>,
    pub(super) gone: BTreeSet<Class>,
}

impl Classes {
    pub(super) fn of(touched: impl Iterator<Item = Class>) -> Self {
        Self { touched: touched.collect(), said: BTreeMap::new(), speaking: BTreeMap::new() }
    }

    /// Takes note of a rule that there is after the change.
    pub(super) fn meet(&mut self, (map, key): Class, rule: &AccessRule) {
        if rule.mode != RuleMode::Challenge {
            *self.speaking.entry(key.scope).or_default() |= map.flag();
        }
    }

    pub(super) fn holds(&self, class: Class) -> bool {
        self.touched.contains(&class)
    }

    /// What a rule about a class that is touched says.
    pub(super) fn say(&mut self, class: Class, said: RuleValue) {
        add(&mut self.said, class, said);
    }

    pub(super) fn changes(self, image: &MapImage) -> Changes {
        if self.touched.is_empty() {
            return Changes { set: BTreeMap::new(), steer: BTreeMap::new(), gone: BTreeSet::new() };
        }
        let steer = image.steer.iter().filter_map(|(prefix, value)| {
            let flags = self.flags(*value);
            (flags != value.flags).then_some((*prefix, SteerValue { flags, ..*value }))
        });
        let before = |(map, key): &Class| image.class_rules(*map).get(key);
        let steer = steer.collect();
        let gone = |class: &&Class| before(class).is_some() && !self.said.contains_key(class);
        let gone = self.touched.iter().filter(gone).copied().collect();
        let set = self.said.into_iter().filter(|(class, said)| before(class) != Some(said)).collect();
        Changes { set, steer, gone }
    }

    /// The flags of an application, as `image` has them.
    fn flags(&self, app: SteerValue) -> u32 {
        let speaking = |scope| self.speaking.get(&scope).copied().unwrap_or_default();
        let asks = app.flags & steer_flags::IP_FIREWALL != 0;
        let by_class = if asks { speaking(SCOPE_USER) | speaking(app.zone) } else { 0 };
        app.flags & !steer_flags::CLASS_RULES | by_class
    }
}
