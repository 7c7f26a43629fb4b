//! `[shield]`: how the shield acts on this node.

use std::time::Duration;

use super::reader::Table;
use crate::model::{AutoRules, AutoSettings, Shield};

pub(super) fn read(root: &mut Table<'_>) -> Shield {
    let mut shield = Shield::default();
    let Some(mut table) = root.table("shield", "[shield]") else { return shield };
    if let Some(found) = table.boolean("timestamps") {
        shield.timestamps = found.value;
    }
    read_auto(&mut table, &mut shield.auto);
    table.finish();
    shield
}

fn read_auto(table: &mut Table<'_>, auto: &mut AutoSettings) {
    let modes = [AutoRules::Off, AutoRules::Simulate, AutoRules::Enforce].map(|mode| (mode.as_str(), mode));
    if let Some(found) = table.choice("auto_rules", &modes) {
        auto.rules = found.value;
    }
    for (key, limit) in [("auto_connections", &mut auto.connections), ("auto_packets", &mut auto.packets)] {
        if let Some(found) = table.integer(key, &RATES) {
            *limit = u32::try_from(found.value).unwrap_or(u32::MAX);
        }
    }
    if let Some(duration) = table.duration("auto_duration", LONGEST) {
        auto.duration = duration;
    }
    if let Some(found) = table.integer("auto_most", &(1..MOST + 1)) {
        auto.most = usize::try_from(found.value).unwrap_or_default();
    }
}

/// A second, of one source. Fewer than this, ordinary clients do.
const RATES: std::ops::Range<u64> = 10..1_000_000_001;
/// Who should be blocked for longer, an operator decides.
const LONGEST: Duration = Duration::from_hours(24);
const MOST: u64 = 1024;
