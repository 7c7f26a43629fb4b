//! Certificates from an ACME directory (RFC 8555), for hostnames that terminate TLS here and have none from a file.
//!
//! Three parts touch the rest of the program: [`Challenges`] is asked by whoever serves a port that a directory looks
//! at, [`Keeper`] orders and renews, and what it gets lies as `HOST.pem` and `HOST.key` in [`certificates`], where the
//! certificate store reads it as it reads any other folder. Deliberately not here: the ports themselves, which
//! certificate a client sees, and DNS-01 (this program can change nobody's zone), so no wildcard names.

mod account;
mod challenges;
mod client;
mod files;
mod http01;
mod keeper;
mod memory;
mod order;
mod pace;
mod report;
mod responders;
mod schedule;
mod trouble;

use std::path::{Path, PathBuf};

pub use challenges::Challenges;
pub use http01::http01;
pub use keeper::Keeper;
pub use pace::Pace;
pub use report::{HostReport, HostState, Reports};
pub use responders::responders;
pub use schedule::impossible;

pub use crate::tls::{ALPN, Http01};

/// Where certificates lie, for the state folder of a node.
pub fn certificates(state_dir: &Path) -> PathBuf {
    folder(state_dir).join("certificates")
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("acme")
}
