//! What the service manager is told, and how it and an operator end a process.

use std::{convert::Infallible, future::pending, io, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

/// Tells the service manager, if there is one.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("the service manager was not told: {error}");
    }
}

/// A minute more until it kills what it has told to end.
pub(crate) const MORE_TIME: NotifyState<'static> = NotifyState::ExtendTimeoutUsec(60_000_000);

/// How often it is told so: a message may be late, none may be too late.
const OFTEN: Duration = Duration::from_secs(20);

/// Asks for more time, again and again. Where it kills a process that drains, everything stays on the host, and no event
/// tells of the connections.
pub(crate) async fn ask_for_time() -> Infallible {
    let mut times = interval(OFTEN);
    loop {
        times.tick().await;
        notify(&[MORE_TIME]);
    }
}

/// SIGTERM and SIGINT: drain and stop; once more: at once.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ready when somebody says so. Cancel safe.
    pub(crate) async fn told(&mut self) {
        let told = tokio::select! {
            told = self.terminate.recv() => told,
            told = self.interrupt.recv() => told,
        };
        if told.is_none() {
            pending::<()>().await;
        }
    }
}
