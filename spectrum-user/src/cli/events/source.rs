//! Where lines come from: the daemon, else the kernel's ring.

use std::time::Duration;

use tokio::time::{Interval, interval};

use super::ring::Ring;
use crate::{
    cli::control,
    daemon::Wanted,
    dataplane::{lock::control_socket, pins::Pins},
    model::Instance,
};

/// Who tells what happens.
pub(in crate::cli) enum Source {
    Daemon(control::Lines),
    Ring { ring: Box<Ring>, look: Interval },
}

/// How soon a daemon that was started is seen.
const LOOK: Duration = Duration::from_millis(500);

impl Source {
    pub(in crate::cli) async fn find(instance: &Instance, wanted: Wanted) -> anyhow::Result<Self> {
        let Wanted { passed, packets, only_samples } = wanted;
        let path = format!("/events?passed={passed}&packets={packets}&only_samples={only_samples}");
        if let Some(lines) = control::lines(instance, &path).await? {
            return Ok(Self::Daemon(lines));
        }
        let pins = Pins::of(instance);
        anyhow::ensure!(pins.exist(), "instance `{instance}` is not loaded, and no daemon runs: nothing happens");
        eprintln!(
            "no daemon of instance `{instance}` answers: these are the kernel's samples alone, read from {}",
            pins.directory().display()
        );
        Ok(Self::Ring { ring: Box::new(Ring::open(&pins, wanted)?), look: interval(LOOK) })
    }

    /// The next line. None: another source has to be found.
    pub(in crate::cli) async fn next(&mut self, instance: &Instance) -> anyhow::Result<Option<String>> {
        match self {
            Self::Daemon(lines) => {
                let line = lines.next().await?;
                if line.is_none() {
                    eprintln!("this daemon tells no more");
                }
                Ok(line)
            }
            Self::Ring { ring, look } => loop {
                tokio::select! {
                    line = ring.next() => return line.map(Some),
                    // The ring has one reader: once there is a daemon, it is that.
                    _ = look.tick() => if control_socket(instance).is_some() { return Ok(None) },
                }
            },
        }
    }
}
