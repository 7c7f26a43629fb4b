//! Events of the node itself: what it began or ended to do, in the same file as what happened to connections.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use super::event::timestamp;

/// Something that the node did, or that happened to it. `Timestamp` is when.
#[derive(Clone, Debug)]
pub struct NodeEvent {
    kind: NodeEventKind,
    at: SystemTime,
    extensions: Map<String, Value>,
}

/// One word for each, as in `Event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeEventKind {
    /// An application is under a SYN flood.
    FloodBegan,
    FloodEnded,
    /// Every SYN gets a cookie from now on.
    ProtectionBegan,
    ProtectionEnded,
    /// An access rule is in force from now on, made by an operator or by the node itself.
    RuleBegan,
    /// It is not any more.
    RuleEnded,
    /// A certificate comes near its end, or has come to it.
    CertificateEnding,
}

impl NodeEventKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FloodBegan => "floodBegan",
            Self::FloodEnded => "floodEnded",
            Self::ProtectionBegan => "protectionBegan",
            Self::ProtectionEnded => "protectionEnded",
            Self::RuleBegan => "ruleBegan",
            Self::RuleEnded => "ruleEnded",
            Self::CertificateEnding => "certificateEnding",
        }
    }
}

impl NodeEvent {
    /// It is happening now.
    pub fn now(kind: NodeEventKind) -> Self {
        Self { kind, at: SystemTime::now(), extensions: Map::new() }
    }

    /// With a field under `extensions`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Appends the event as one line of JSON.
    pub(super) fn write_line(&self, line: &mut Vec<u8>) {
        let (event, timestamp) = (self.kind.as_str(), timestamp(self.at));
        // A Vec takes every byte, and what is in the map is JSON already.
        if serde_json::to_writer(&mut *line, &Line { event, timestamp, extensions: &self.extensions }).is_ok() {
            line.push(b'\n');
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    event: &'static str,
    timestamp: String,
    #[serde(rename = "extensions")]
    extensions: &'a Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_when_and_more() {
        let mut line = Vec::new();
        NodeEvent::now(NodeEventKind::FloodBegan).with("hostname", "a \"b\"").with("requests", 7).write_line(&mut line);
        let json: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(json["Event"], "floodBegan");
        assert_eq!((&json["extensions"]["hostname"], &json["extensions"]["requests"]), (&"a \"b\"".into(), &7.into()));
        assert!(json["Timestamp"].as_str().unwrap().starts_with("20"));
    }
}
