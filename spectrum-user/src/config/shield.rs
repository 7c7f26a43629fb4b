//! `[shield]`: how the shield acts on this node.

use super::reader::Table;
use crate::model::Shield;

pub(super) fn read(root: &mut Table<'_>) -> Shield {
    let mut shield = Shield::default();
    let Some(mut table) = root.table("shield", "[shield]") else { return shield };
    if let Some(found) = table.boolean("timestamps") {
        shield.timestamps = found.value;
    }
    table.finish();
    shield
}
