//! From the listening socket to an accepted connection, and every socket this program opens for traffic.
//!
//! Deliberately not here: what happens to a connection afterwards (`proxy`), and the socket map that makes the kernel
//! give us connections to edge addresses (`dataplane`).

mod accept;
mod budget;
mod connect;
mod info;
mod listeners;
mod sockets;
mod spread;

pub use accept::{Accepted, Acceptor, Arrival, Shed};
pub use budget::{Admission, Budget, Permit};
pub(crate) use connect::connect;
pub use connect::{ConnectError, Sources};
pub(crate) use info::TcpInfo;
pub use listeners::{BindError, Listeners};
pub(crate) use sockets::{guard, origin_socket, origin_socket_as, origin_socket_as_host, plain_listening_socket};
pub use spread::{Inbox, Seat, Seated, Spread};
