//! What the TLS of all applications has in common.

use std::{sync::Arc, time::SystemTime};

use super::{
    Challenged, TicketKeys,
    certificates::{Certificates, Live},
};
use crate::model::HandshakeLimits;

/// Certificates and ticket keys of the node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shared {
    pub certificates: Live,
    pub tickets: Arc<TicketKeys>,
    pub handshakes: HandshakeLimits,
    /// None: no certificates are asked for at a directory.
    pub challenges: Option<Arc<dyn Challenged>>,
}

impl Default for Shared {
    /// No certificate, and keys that die with the process.
    fn default() -> Self {
        Self {
            certificates: Live::new(Arc::new(Certificates::default())),
            tickets: Arc::new(TicketKeys::in_memory(SystemTime::now())),
            handshakes: HandshakeLimits::default(),
            challenges: None,
        }
    }
}
