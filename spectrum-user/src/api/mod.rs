//! HTTP: the control socket, metrics and health.
//!
//! Deliberately not here: writing maps. Handlers see the daemon's view of itself, read-only.

mod control;
mod metrics;
mod serve;

pub use control::router as control_router;
pub use metrics::router as metrics_router;
pub use serve::{Lasting, serve};
