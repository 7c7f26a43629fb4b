//! From a configuration to the state that is wanted: edge addresses for those who ask for dynamic ones, and their
//! persistence.
//!
//! Deliberately not here: the kernel, and publishing the state to the proxy.

mod allocate;
mod assigned;
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
    assigned::{Assigned, Provisional},
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
    let Plan { desired, assigned } = plan(config, host_addresses)?;
    assigned.keep()?.confirm();
    Ok(desired)
}

/// The state that a configuration asks for, and the addresses that it rests on: not kept yet.
#[derive(Debug)]
pub struct Plan {
    pub desired: DesiredState,
    pub assigned: Assigned,
}

/// As [`desired`]. Writes nothing either: what comes of it may never be in force.
pub fn plan(config: &Config, host_addresses: &[IpAddr]) -> Result<Plan, StateError> {
    let is_dynamic = |edge_ips: &EdgeIps| matches!(edge_ips, EdgeIps::Dynamic(_));
    // A node with static addresses only needs no state directory at all.
    let needed = config.applications.iter().any(|application| is_dynamic(&application.edge_ips));
    let existing = if needed { store::read(&config.node.state_dir)? } else { Assignments::default() };
    let (mut desired, assignments) = allocate(config, &existing, host_addresses)?;
    let now = SystemTime::now();
    desired.rules.retain(|rule| !rule.has_ended(now));
    let assigned = Assigned::new(&config.node.state_dir, needed.then_some(assignments));
    Ok(Plan { desired, assigned })
}
