//! What the kernel's numbers stand for: looked up for every sample, so by index and not by search.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;
use spectrum_common::layout::ObjectId;

use super::{
    RuleStatus,
    sample_event::{AppName, Naming},
};
use crate::{
    dataplane::{numbers::Names, rules::RuleChange},
    model::{AccessRule, AppId, Application, DesiredState, Leaders},
};

/// The objects of one applied state by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    desired: Arc<DesiredState>,
    leaders: Arc<Leaders>,
    apps: HashMap<u32, usize>,
    rules: HashMap<u32, usize>,
}

impl Objects {
    pub(super) fn new(desired: Arc<DesiredState>, apps: &Names, rules: &Names) -> Self {
        let apps = index(apps, desired.applications.iter().map(|app| app.id.bytes()));
        let rules = index(rules, desired.rules.iter().map(|rule| rule.id.bytes()));
        let leaders = Arc::new(Leaders::of(&desired));
        Self { desired, leaders, apps, rules }
    }

    pub(super) fn app(&self, number: u32) -> Option<&Application> {
        self.desired.applications.get(*self.apps.get(&number)?)
    }

    pub(super) fn rule(&self, number: u32) -> Option<&AccessRule> {
        self.desired.rules.get(*self.rules.get(&number)?)
    }

    /// Every application with its number, in the order of the configuration.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u32, &Application)> {
        let mut places: Vec<(usize, u32)> = self.apps.iter().map(|(number, place)| (*place, *number)).collect();
        places.sort_unstable();
        places.into_iter().filter_map(|(place, number)| Some((number, self.desired.applications.get(place)?)))
    }

    /// An application, and those that the kernel counts for it.
    pub(super) fn counted_with<'o>(&'o self, app: &'o Application) -> impl Iterator<Item = AppId> + 'o {
        let mut others: Vec<AppId> = self.leaders.led_by(app).collect();
        others.sort_unstable();
        others.dedup();
        std::iter::once(app.id).chain(others)
    }

    /// Rules go, come and change. One that changes keeps its place.
    pub(super) fn change(&mut self, change: RuleChange<'_>, renamed: &[(u32, Option<ObjectId>)]) {
        let rules = &mut Arc::make_mut(&mut self.desired).rules;
        let place = |rules: &[AccessRule], id| rules.iter().position(|rule| rule.id == id);
        let mut new = Vec::new();
        for added in change.added {
            match place(rules, added.id).and_then(|place| rules.get_mut(place)) {
                Some(rule) => added.clone_into(rule),
                None => new.push(added),
            }
        }
        for removed in change.removed.iter().filter(|removed| change.added.iter().all(|added| added.id != removed.id)) {
            let Some(place) = place(rules, removed.id) else { continue };
            rules.remove(place);
            self.rules.retain(|_, other| *other != place);
            self.rules.values_mut().filter(|other| **other > place).for_each(|other| *other -= 1);
        }
        for added in new {
            let number = renamed.iter().find(|(_, name)| *name == Some(ObjectId { id: added.id.bytes() }));
            if let Some((number, _)) = number {
                self.rules.insert(*number, rules.len());
            }
            rules.push(added.clone());
        }
    }

    pub(super) const fn desired(&self) -> &Arc<DesiredState> {
        &self.desired
    }
}

impl Naming for Objects {
    fn app(&self, number: u32) -> Option<AppName> {
        let app = Self::app(self, number)?;
        Some(AppName { id: app.id.to_string(), hostname: app.hostname.clone(), protocol: app.protocol.to_string() })
    }

    fn rule(&self, number: u32) -> Option<Value> {
        serde_json::to_value(RuleStatus::of(Self::rule(self, number)?, self.desired())).ok()
    }
}

/// Where the objects that have numbers stand in their list.
fn index(names: &Names, ids: impl Iterator<Item = [u8; 16]>) -> HashMap<u32, usize> {
    let places: HashMap<[u8; 16], usize> = ids.zip(0..).collect();
    names.iter().filter_map(|(number, name)| Some((*number, *places.get(&name.id)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RuleId, RuleMode, Scope, Target};

    fn rule(prefix: &str, notes: &str) -> AccessRule {
        AccessRule {
            id: RuleId::derive(&[prefix]),
            scope: Scope::User,
            mode: RuleMode::Block,
            target: Target::Prefix(prefix.parse().unwrap()),
            notes: notes.to_owned(),
            simulate: false,
            expires_on: None,
        }
    }

    #[test]
    fn numbers_mean_the_same_rules_after_a_change() {
        let [a, b, c, d] =
            ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"].map(|prefix| rule(prefix, ""));
        let name = |rule: &AccessRule| ObjectId { id: rule.id.bytes() };
        let names: Names = [(1, name(&a)), (2, name(&b)), (3, name(&c))].into();
        let desired = DesiredState { rules: vec![c.clone(), a.clone(), b.clone()], ..DesiredState::default() };
        let mut objects = Objects::new(Arc::new(desired), &Names::new(), &names);
        let changed = rule("192.0.2.2/32", "changed");
        let (removed, added) = ([a, b], [changed.clone(), d.clone()]);
        let change = RuleChange { removed: &removed, added: &added };
        objects.change(change, &[(1, None), (4, Some(name(&d)))]);
        assert_eq!(objects.desired().rules, [c.clone(), changed.clone(), d.clone()]);
        assert_eq!([1, 2, 3, 4].map(|number| objects.rule(number)), [None, Some(&changed), Some(&c), Some(&d)]);
    }
}
