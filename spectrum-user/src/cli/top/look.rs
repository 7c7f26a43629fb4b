//! One look at every counter.

use std::time::Instant;

use crate::{
    cli::control,
    daemon::{AppStatus, DaemonStatus, Protection},
    dataplane::{
        maps::{ConfigMaps, CounterMaps, MapSource},
        pins::Pins,
        status::{self, ReasonCount},
    },
    model::{AppId, Instance},
};

/// What had been counted at a moment.
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) daemon: bool,
    pub(super) protection: Option<Protection>,
    pub(super) totals: Vec<ReasonCount>,
    pub(super) apps: Vec<AppStatus>,
}

/// Where the counters are.
pub(super) struct Looker {
    instance: Instance,
    pins: Pins,
    counters: CounterMaps,
}

impl Looker {
    pub(super) fn open(instance: &Instance) -> anyhow::Result<Self> {
        let pins = Pins::of(instance);
        let counters = CounterMaps::open(MapSource::Pins(&pins))?;
        Ok(Self { instance: instance.clone(), pins, counters })
    }

    pub(super) async fn look(&self) -> anyhow::Result<Look> {
        let daemon: Option<DaemonStatus> = control::get(&self.instance, "/status").await?;
        let totals = status::total(&self.counters)?;
        Ok(match daemon {
            Some(DaemonStatus { protection, applications: apps, .. }) => {
                Look { at: Instant::now(), daemon: true, protection, totals, apps }
            }
            None => Look { at: Instant::now(), daemon: false, protection: None, totals, apps: self.pinned()? },
        })
    }

    /// Applications as far as the maps know them: without a daemon nobody has connections.
    fn pinned(&self) -> anyhow::Result<Vec<AppStatus>> {
        let (apps, _) = ConfigMaps::open(MapSource::Pins(&self.pins))?.names()?;
        let app = |(number, name): (u32, spectrum_common::layout::ObjectId)| {
            Ok(AppStatus {
                id: AppId::from_bytes(name.id).to_string(),
                packets: status::of_app(&self.counters, number)?,
                ..AppStatus::default()
            })
        };
        apps.into_iter().map(app).collect()
    }
}
