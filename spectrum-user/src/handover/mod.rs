//! From one process to the next: how a predecessor and its successor speak, and what passes between them.
//!
//! ```text
//!   predecessor                                successor
//!     starts it                          ──►
//!                                        ◄──   Hello: which version of these words it speaks
//!     Take: the lock, listening sockets  ──►
//!                                              reads the file, loads the programs, changes nothing
//!                                        ◄──   Changing
//!     accepts no more; Go                ──►
//!                                              changes maps, routes and links
//!                                        ◄──   Ready
//!     Yours: what it knew of floods      ──►
//!                                              accepts, answers on the control socket
//!                                        ◄──   Serving
//!     tells the service manager; Known   ──►
//!     drains                                   says how many are left, to the end of this channel
//! ```
//!
//! Until `Serving` the predecessor can go on as if nothing had been. When it ends before that, the successor goes on alone.
//!
//! Deliberately not here: what either of them does (`daemon`), and what the service manager keeps (`daemon::store`).

mod channel;
mod successor;
#[cfg(test)]
mod tests;
mod words;

pub use channel::{Channel, Received};
pub use successor::{Program, StartError, Successor};
pub use words::{Down, Estate, FromPredecessor, FromSuccessor, Item, Notes, Operators, Shield, VERSION};

/// The variable that names a successor's end of the channel.
const VARIABLE: &str = "SPECTRUM_PREDECESSOR";
