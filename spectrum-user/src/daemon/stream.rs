//! Everything that happens, as lines, for one reader: events of connections and of the node, and samples.
//!
//! Nothing waits for the reader. What it is too slow for is left out, and it is told how much that was.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use spectrum_common::reason::Action;

use super::{SampleReader, View};
use crate::{
    dataplane::events::Sample,
    telemetry::{EventReader, timestamp},
};

/// What a reader asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Samples of packets that were not dropped, too.
    pub passed: bool,
    /// With the first bytes of each packet.
    pub packets: bool,
    /// Nothing but samples.
    pub only_samples: bool,
}

impl Wanted {
    /// Whether the reader asks for this sample.
    pub fn includes(self, sample: &Sample) -> bool {
        self.passed || sample.reason.action() == Action::Drop
    }
}

/// The last line of a stream whose daemon another process has taken the place of.
pub const HANDED_OVER: &str = "handedOver";

/// One reader's lines.
pub struct Stream {
    view: Arc<View>,
    wanted: Wanted,
    ended: bool,
    events: EventReader,
    samples: SampleReader,
}

impl Stream {
    pub fn new(view: &Arc<View>, wanted: Wanted) -> Self {
        Self {
            view: Arc::clone(view),
            wanted,
            ended: false,
            events: view.events().subscribe(),
            samples: view.samples(),
        }
    }

    /// Waits for the next line, its end included. None: the daemon ends.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(missed) = self.missed() {
                return Some(missed);
            }
            let line = tokio::select! {
                event = self.events.next() => {
                    let Some(event) = event else { return self.last() };
                    if self.wanted.only_samples {
                        continue;
                    }
                    event.to_string()
                }
                sample = self.samples.next() => {
                    let sample = sample?;
                    if !self.wanted.includes(&sample) {
                        continue;
                    }
                    self.view.sample_line(&sample, self.wanted.packets)
                }
            };
            return Some(line + "\n");
        }
    }

    /// Says who goes on, where somebody does.
    fn last(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let line = json!({
            "Event": HANDED_OVER,
            "Timestamp": timestamp(std::time::SystemTime::now()),
            "extensions": { "pid": self.view.successor()? },
        });
        Some(format!("{line}\n"))
    }

    /// Says what was left out, where something was.
    fn missed(&mut self) -> Option<String> {
        let (events, samples) = (self.events.missed(), self.samples.missed());
        if events == 0 && samples == 0 {
            return None;
        }
        let line = json!({
            "Event": "missed",
            "Timestamp": timestamp(std::time::SystemTime::now()),
            "extensions": { "events": events, "samples": samples },
        });
        Some(format!("{line}\n"))
    }
}
