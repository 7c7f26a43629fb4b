//! What the kernel's numbers stand for: looked up for every sample, so by index and not by search.

use std::{collections::HashMap, sync::Arc};

use crate::{
    dataplane::numbers::Names,
    model::{AccessRule, Application, DesiredState},
};

/// The objects of one applied state by their numbers.
#[derive(Debug, Default)]
pub(super) struct Objects {
    desired: Arc<DesiredState>,
    apps: HashMap<u32, usize>,
    rules: HashMap<u32, usize>,
}

impl Objects {
    pub(super) fn new(desired: Arc<DesiredState>, apps: &Names, rules: &Names) -> Self {
        let apps = index(apps, desired.applications.iter().map(|app| app.id.bytes()));
        let rules = index(rules, desired.rules.iter().map(|rule| rule.id.bytes()));
        Self { desired, apps, rules }
    }

    pub(super) fn app(&self, number: u32) -> Option<&Application> {
        self.desired.applications.get(*self.apps.get(&number)?)
    }

    pub(super) fn rule(&self, number: u32) -> Option<&AccessRule> {
        self.desired.rules.get(*self.rules.get(&number)?)
    }

    pub(super) fn desired(&self) -> &DesiredState {
        &self.desired
    }
}

/// Where the objects that have numbers stand in their list.
fn index(names: &Names, ids: impl Iterator<Item = [u8; 16]>) -> HashMap<u32, usize> {
    let places: HashMap<[u8; 16], usize> = ids.zip(0..).collect();
    names.iter().filter_map(|(number, name)| Some((*number, *places.get(&name.id)?))).collect()
}
