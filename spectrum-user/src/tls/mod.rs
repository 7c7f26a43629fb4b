//! TLS at the edge and to origins: whose certificate a client sees, which sessions go on, what is asked of an origin.
//!
//! Deliberately not here: connections and their bytes (`proxy`), and what the file says (`config`). Everything of rustls
//! that is not a connection stands behind this module.

mod authorities;
pub mod certificates;
mod challenge;
pub mod danger;
mod edge;
mod facts;
mod from_files;
pub mod hello;
mod keeper;
#[cfg(feature = "legacy-tls")]
pub mod legacy;
mod names;
mod origin;
mod provider;
mod shared;
pub mod tickets;
mod words;

pub use challenge::{ALPN, Challenged, Http01, answer_challenge};
pub use edge::{Edge, Refused};
pub use facts::{ClientHandshake, Identity, OriginHandshake};
pub use hello::{ClientHello, Look, look};
pub use keeper::{Keep, Keeper};
pub use names::own_hosts;
pub use origin::{Fault, Origin};
pub use provider::{Peer, provider};
pub use shared::Shared;
pub use tickets::{AppTickets, SealKey, TicketKeys};
