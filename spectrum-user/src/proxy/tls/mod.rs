//! Handshakes of one connection, with its client and with its origin, and what is known after them.
//!
//! Deliberately not here: certificates and what is asked of them (`crate::tls`), and the bytes afterwards (`relay`).

mod accept;
mod challenge;
mod farewell;
mod first;
mod offer;
#[cfg(feature = "legacy-tls")]
mod older;
mod session;
mod wire;

pub(super) use self::{
    accept::{ClientTlsError, accept, tell},
    challenge::show,
    farewell::{DECODE_ERROR, alert, farewell},
    first::refusal,
    offer::{OriginTlsError, offer},
    session::{Input, Session},
};
