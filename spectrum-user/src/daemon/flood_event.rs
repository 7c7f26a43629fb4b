//! A flood begins or ends: told in the log, and the same as an event.

use std::time::Duration;

use crate::{
    shield::{Change, Kind, Likeness, describe_portrait},
    telemetry::{NodeEvent, NodeEventKind},
};

/// What is known of a flood.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// How long it has lasted.
    pub(super) lasted: Duration,
    /// What its packets look like.
    pub(super) portrait: Vec<Likeness>,
}

/// Says so in the log; the event says the same.
pub(super) fn told(kind: Kind, change: Change, name: &str, account: &Account) -> NodeEvent {
    let looks = match &account.portrait[..] {
        [] => String::new(),
        portrait => format!("; its packets: {}", describe_portrait(portrait)),
    };
    let event = match (kind, change) {
        (Kind::Syn, Change::Began { requests, completed }) => {
            log::warn!(
                "{name} is under a SYN flood: {requests:.0} requests a second, of which {:.1} % become connections{looks}",
                completed * 100.0
            );
            let event = NodeEvent::now(NodeEventKind::FloodBegan);
            event.with("requests_per_second", requests.round()).with("completed", completed)
        }
        (Kind::Orphans, Change::Began { requests, .. }) => {
            log::warn!(
                "{name} is under a flood of segments of no connection, {requests:.0} a second: they are dropped{looks}"
            );
            NodeEvent::now(NodeEventKind::FloodBegan).with("segments_per_second", requests.round())
        }
        (kind, Change::Ended) => {
            let what = match kind {
                Kind::Syn => "SYN flood",
                Kind::Orphans => "flood of segments of no connection",
            };
            log::warn!("the {what} on {name} is over{looks}");
            NodeEvent::now(NodeEventKind::FloodEnded).with("seconds", account.lasted.as_secs())
        }
    };
    // Plain values cannot fail to be JSON.
    let portrait = serde_json::to_value(&account.portrait).unwrap_or_default();
    event.with("kind", kind.as_str()).with("portrait", portrait)
}
