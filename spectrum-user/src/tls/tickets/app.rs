//! The tickets of one application, as rustls asks for them.
//!
//! Deliberately not here: what is in a ticket. It is the session as rustls writes it, with the client's certificates.

use std::{sync::Arc, time::SystemTime};

use rustls::server::ProducesTickets;

use super::{LIFETIME, ROTATION, TicketKeys};

/// Makes and takes the tickets of one application.
///
/// The context stands for all that a session may depend on: the application, and the authorities that its clients are held
/// against. A resumed session brings the certificates of its first handshake along, and nobody looks at them again. With
/// keys alone, a session that one application allowed would be taken up by another with other authorities, past its
/// authentication (CVE-2025-23419 is that, in nginx). So a ticket opens only where the context is the same, byte for byte.
#[derive(Debug)]
pub struct AppTickets {
    keys: Arc<TicketKeys>,
    context: Vec<u8>,
}

impl AppTickets {
    /// `context`: the application's id, and a digest of the authorities for its clients, of a length that makes out which
    /// is which.
    pub fn new(keys: Arc<TicketKeys>, context: impl Into<Vec<u8>>) -> Self {
        Self { keys, context: context.into() }
    }
}

impl ProducesTickets for AppTickets {
    fn enabled(&self) -> bool {
        true
    }

    /// Seconds. The key may have sealed for an hour already, so this is how long every ticket is good for: a client that
    /// comes later would send its ticket in vain.
    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.saturating_sub(ROTATION).as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.encrypt(&self.context, plain, SystemTime::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.keys.decrypt(&self.context, cipher, SystemTime::now())
    }
}
