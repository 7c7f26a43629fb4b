//! The kernel's samples themselves, where no daemon reads them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    daemon::{
        Wanted,
        sample_event::{self, AppName, Naming},
    },
    dataplane::{
        events::Samples,
        maps::{ConfigMaps, MapSource},
        numbers::Names,
        pins::Pins,
    },
    geo::Whereabouts,
    model::{AppId, RuleId},
};

pub(in crate::cli) struct Ring {
    samples: Samples,
    pins: Pins,
    names: PinnedNames,
    named: Instant,
    wanted: Wanted,
}

/// How old names may be: nobody tells when maps change.
const NAMES_FOR: Duration = Duration::from_secs(5);

impl Ring {
    pub(super) fn open(pins: &Pins, wanted: Wanted) -> anyhow::Result<Self> {
        Ok(Self {
            samples: Samples::open(MapSource::Pins(pins))?,
            names: PinnedNames::read(pins)?,
            named: Instant::now(),
            pins: pins.clone(),
            wanted,
        })
    }

    /// Waits for the next line. Cancel safe.
    pub(super) async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            let sample = self.samples.next().await?;
            if !self.wanted.includes(&sample) {
                continue;
            }
            if self.named.elapsed() > NAMES_FOR {
                self.names = PinnedNames::read(&self.pins)?;
                self.named = Instant::now();
            }
            return Ok(sample_event::line(&sample, &self.names, Whereabouts::default(), self.wanted.packets));
        }
    }
}

/// What the maps know of numbers: ids, and nothing that only a configuration says.
struct PinnedNames {
    apps: Names,
    rules: Names,
}

impl PinnedNames {
    fn read(pins: &Pins) -> anyhow::Result<Self> {
        let (apps, rules) = ConfigMaps::open(MapSource::Pins(pins))?.names()?;
        Ok(Self { apps, rules })
    }
}

impl Naming for PinnedNames {
    fn app(&self, number: u32) -> Option<AppName> {
        let id = AppId::from_bytes(self.apps.get(&number)?.id).to_string();
        Some(AppName { id, ..AppName::default() })
    }

    fn rule(&self, number: u32) -> Option<Value> {
        Some(json!({ "id": RuleId::from_bytes(self.rules.get(&number)?.id).to_string() }))
    }
}
