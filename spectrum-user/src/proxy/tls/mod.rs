//! Handshakes of one connection, with its client and with its origin, and what is known after them.
//!
//! Deliberately not here: certificates and what is asked of them (`crate::tls`), and the bytes afterwards (`relay`).

mod accept;
mod farewell;
mod offer;
#[cfg(feature = "legacy-tls")]
mod older;
mod session;
mod wire;

pub(super) use self::{
    accept::{ClientTlsError, accept, tell},
    farewell::{DECODE_ERROR, PROTOCOL_VERSION, RECORD_OVERFLOW, UNEXPECTED_MESSAGE, alert, farewell},
    offer::{OriginTlsError, offer},
    session::{Input, Session},
};
