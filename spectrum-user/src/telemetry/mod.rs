//! What an operator can see: metrics, one event line per connection event, and the program's own log.
//!
//! Deliberately not here: what is worth counting. `proxy` decides that, and nothing in here can slow it down: counters
//! are plain stores, the event log drops (and counts) rather than waits.

mod counter;
mod encode;
mod event;
mod event_log;
mod file;
mod histogram;
mod lines;
pub mod logging;
mod metrics;
mod node_event;

pub use counter::Counter;
pub(crate) use event::timestamp;
pub use event::{Event, EventKind, Matched};
pub use event_log::{EventLog, EventLogError, EventReader};
pub use metrics::{AppMetrics, AppShard, DIAL_ERRORS, HANDSHAKES, Metrics, NodeShard, TLS_ERRORS};
pub use node_event::{NodeEvent, NodeEventKind};
