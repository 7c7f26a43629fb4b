//! What is measured where the contestant ends the clients' TLS and speaks to the origin in clear.

mod handshakes;
mod records;

use super::{Measure, bulk, idle};
use crate::load::tls::{Key, Version};

/// All measures of TLS, in the order of the report.
pub(crate) fn all() -> Vec<Box<dyn Measure>> {
    use bulk::Direction::{Download, Upload};
    let mut all: Vec<Box<dyn Measure>> = Vec::new();
    for (key, version, resumes) in [
        (Key::Ecdsa, Version::Tls13, false),
        (Key::Rsa, Version::Tls13, false),
        (Key::Ecdsa, Version::Tls13, true),
        (Key::Ecdsa, Version::Tls12, true),
    ] {
        all.push(Box::new(handshakes::Handshakes { key, version, resumes }));
    }
    for (direction, streams) in [(Download, 1), (Download, 8), (Upload, 1), (Upload, 8)] {
        all.push(Box::new(bulk::Bulk { direction, streams }));
    }
    all.push(Box::new(idle::Idle { connections: 2000 }));
    all.push(Box::new(records::Records));
    all
}
