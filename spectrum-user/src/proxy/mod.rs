//! What happens to an accepted connection: classify, access, dial, relay, finish.
//!
//! Deliberately not here: listening (`listen`), kernel maps (`dataplane`), and where the applications come from
//! (`state`). The proxy sees an immutable [`AppTable`] and counters.

mod access;
mod address;
mod app;
mod arrivals;
mod connection;
mod dial;
mod outcome;
mod record;
mod relay;
mod serve;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod worker;
mod workers;

pub use access::{Access, AccessRules, By};
pub use address::{ClientAddr, EdgeAddr, OriginAddr};
pub use app::App;
pub use arrivals::Arrivals;
pub use table::AppTable;
pub use workers::{DrainReport, StartError, Telemetry, Workers};
