//! What an operator says by signals.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::service::Stop;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGHUP: apply the edited file.
    Reload,
    /// SIGTERM, SIGINT: drain and stop.
    Stop,
}

pub(super) struct Signals {
    hangup: Stream,
    stop: Stop,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { hangup: signal(SignalKind::hangup())?, stop: Stop::listen()? })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            () = self.stop.told() => Signal::Stop,
        }
    }

    /// The next signal to stop; reloads are too late now.
    pub(super) async fn stop(&mut self) {
        self.stop.told().await;
    }
}
