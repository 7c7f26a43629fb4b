//! Which instance a command means.

use crate::{dataplane::pins, model::Instance};

/// The named one, the only loaded one, or `default`.
pub(super) fn chosen(named: Option<Instance>) -> anyhow::Result<Instance> {
    if let Some(named) = named {
        return Ok(named);
    }
    let mut loaded = pins::instances();
    match loaded.len() {
        0 => Ok(Instance::default()),
        1 => Ok(loaded.remove(0)),
        _ => {
            let names: Vec<String> = loaded.iter().map(ToString::to_string).collect();
            anyhow::bail!("several instances are loaded ({}): choose one with --instance", names.join(", "))
        }
    }
}
