//! What happens to an accepted connection: classify, access, dial, relay, finish.
//!
//! Deliberately not here: listening (`listen`), kernel maps (`dataplane`), and where the applications come from
//! (`state`). The proxy sees an immutable [`AppTable`] and counters.

mod access;
mod address;
mod announce;
mod app;
mod arrivals;
mod beside;
mod choose;
mod connection;
mod dial;
mod handshakes;
mod headcount;
pub mod header;
mod leg;
mod outcome;
mod owner;
mod patience;
mod record;
mod relay;
mod responder;
mod serve;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
mod worker;
mod workers;
mod wrapped;

pub use access::{Access, AccessRules, By};
pub use address::{ClientAddr, EdgeAddr, OriginAddr};
pub use announce::UniqueId;
pub(crate) use announce::send_whole;
pub use app::App;
pub use arrivals::Arrivals;
pub(crate) use leg::Leg;
pub use owner::Owner;
pub(crate) use relay::{Broken, Relay};
pub use table::AppTable;
pub use workers::{DrainReport, StartError, Telemetry, Workers};
