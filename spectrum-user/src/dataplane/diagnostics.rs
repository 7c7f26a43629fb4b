//! What the kernel programs log (aya-log), into the program's own log.
//!
//! The level is a constant of the loaded programs: at 0, which is the default, the verifier removes the logging
//! altogether and this waits forever.

use std::io;

use aya_log::EbpfLogger;
use log::Log;
use tokio::io::{Interest, unix::AsyncFd};

use super::load::Loaded;

/// How much the programs say, least first; the numbers are aya-log's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelLog {
    #[default]
    Off,
    Warn,
    Debug,
}

impl KernelLog {
    pub const fn level(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Warn => 2,
            Self::Debug => 4,
        }
    }
}

/// The reading end of the programs' log, within a tokio runtime.
pub struct Diagnostics(Option<AsyncFd<EbpfLogger<&'static dyn Log>>>);

impl Diagnostics {
    pub(super) fn open(loaded: &mut Loaded) -> anyhow::Result<Self> {
        let logger = EbpfLogger::init(&mut loaded.ebpf)?;
        // SAFETY: a logger owns its one descriptor from its making to its drop.
        let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }.map_err(io::Error::from)?;
        Ok(Self(Some(logger)))
    }

    /// Passes on what is logged, for as long as it is polled. Cancel safe.
    pub async fn pass_on(&mut self) {
        let Some(logger) = &mut self.0 else { return std::future::pending().await };
        logger.get_mut().flush();
        match logger.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(error) => {
                log::error!("what the kernel programs log is no longer read: {error}");
                self.0 = None;
            }
        }
    }
}
