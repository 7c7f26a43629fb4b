//! The kernel side as userspace sees it: what the maps should hold, what they hold, and how one becomes the other.
//!
//! Deliberately not here: connections, the API. Only `apply` writes configuration maps (I7).

pub mod apply;
pub mod attach;
mod batch;
mod bpffs;
mod clock;
pub mod diagnostics;
pub mod diff;
pub mod events;
pub mod explain;
mod found;
pub mod geo;
pub mod header;
pub mod image;
pub mod instance;
pub mod load;
pub mod lock;
pub mod maps;
mod memory;
pub mod netlink;
pub mod numbers;
pub mod object;
pub mod pins;
pub mod probe;
mod read;
mod responders;
pub mod rule_table;
pub mod rules;
pub mod status;
mod sys;
