//! From a configuration to the state that is wanted: edge addresses for those who ask for dynamic ones, and their
//! persistence.
//!
//! Deliberately not here: the kernel, and publishing the state to the proxy.

mod allocate;
mod assignments;
pub mod document;
mod host;
mod pool;
mod store;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::SystemTime};

pub use self::{
    allocate::allocate,
    assignments::{Addresses, Assignments, Family},
    host::host_addresses,
    store::StoreError,
};
use crate::{
    config::{Config, ConfigErrors},
    model::{DesiredState, EdgeIps},
};

/// Why there is no state to aim at.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The state that a configuration asks for on this host. Writes nothing: for `spectrum check`.
pub fn desired(config: &Config, host_addresses: &[IpAddr]) -> Result<DesiredState, StateError> {
    plan(config, host_addresses).map(|plan| plan.desired)
}

/// As [`desired`], and keeps the addresses that were newly assigned before anybody can see them.
pub fn desired_kept(config: &Config, host_addresses: &[IpAddr]) -> Result<DesiredState, StateError> {
    let plan = plan(config, host_addresses)?;
    if plan.changed {
        store::write(&config.node.state_dir, &plan.assignments)?;
    }
    Ok(plan.desired)
}

struct Plan {
    desired: DesiredState,
    assignments: Assignments,
    changed: bool,
}

fn plan(config: &Config, host_addresses: &[IpAddr]) -> Result<Plan, StateError> {
    let is_dynamic = |edge_ips: &EdgeIps| matches!(edge_ips, EdgeIps::Dynamic(_));
    // A node with static addresses only needs no state directory at all.
    let needed = config.applications.iter().any(|application| is_dynamic(&application.edge_ips));
    let existing = if needed { store::read(&config.node.state_dir)? } else { Assignments::default() };
    let (mut desired, assignments) = allocate(config, &existing, host_addresses)?;
    let now = SystemTime::now();
    desired.rules.retain(|rule| !rule.has_ended(now));
    let changed = needed && assignments != existing;
    Ok(Plan { desired, assignments, changed })
}
