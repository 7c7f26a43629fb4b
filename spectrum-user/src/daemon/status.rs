//! What the daemon answers about itself: `GET /status` of the control socket, and the parts that others show too.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::GeoReport;
use crate::{
    dataplane::status::ReasonCount,
    model::{AccessRule, Application, DesiredState, Scope},
    rules::{Configuration, RuleObject},
    shield::Likeness,
    telemetry::AppMetrics,
};

/// A flood that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flood {
    /// `syn`, or `orphans`: TCP segments of no connection.
    pub kind: String,
    /// The id of the application that it is for.
    pub application: String,
    pub name: String,
    /// What its packets look like.
    #[serde(default)]
    pub portrait: Vec<Likeness>,
}

/// How many access rules there are, by source, and how full the kernel's maps are of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCounts {
    pub file: usize,
    pub operator: usize,
    pub auto: usize,
    /// Rules with a number, and prefixes by family. None known after a failure, until the next reload.
    pub rules: usize,
    pub v4: usize,
    pub v6: usize,
}

/// The protected mode: every SYN of this network namespace gets a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// Applications under a flood.
    pub floods: Vec<String>,
    /// Whether an application asks for it at all times (`syn_cookies = "always"`).
    pub always: bool,
}

/// `GET /status` of the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub instance: String,
    pub version: String,
    pub pid: u32,
    pub ready: bool,
    /// Revision that the kernel holds.
    pub revision: u64,
    /// Why the last change was not applied.
    pub problem: Option<String>,
    /// What runs, but not as well as it could.
    pub degraded: Vec<String>,
    /// While the protected mode is on, what it is on for.
    #[serde(default)]
    pub protection: Option<Protection>,
    #[serde(default)]
    pub floods: Vec<Flood>,
    /// The databases of networks and countries, where there are some.
    #[serde(default)]
    pub geo: Option<GeoReport>,
    /// Where the workers listen; only steering reaches it.
    pub listening: SocketAddr,
    pub applications: Vec<AppStatus>,
    #[serde(default)]
    pub rules: RuleCounts,
    /// Kept rules of operators that are not in force, and why.
    #[serde(default)]
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    pub id: String,
    pub hostname: String,
    pub protocol: String,
    pub edge_ips: Vec<IpAddr>,
    pub origins: Vec<String>,
    pub ip_firewall: bool,
    pub connections_active: u64,
    pub connections_opened: u64,
    pub client_bytes: u64,
    pub origin_bytes: u64,
    /// The XDP program's verdicts on its packets.
    pub packets: Vec<ReasonCount>,
}

/// An access rule in few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    pub id: String,
    pub mode: String,
    /// A prefix, `AS` and a number, or a country's two letters.
    pub target: String,
    pub scope: String,
    pub notes: String,
    pub simulate: bool,
    /// RFC 3339.
    pub expires_on: Option<String>,
    /// `file`, `operator` or `auto`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

impl AppStatus {
    pub(super) fn of(app: &Application, metrics: &AppMetrics, packets: Vec<ReasonCount>) -> Self {
        Self {
            id: app.id.to_string(),
            hostname: app.hostname.clone(),
            protocol: app.protocol.to_string(),
            edge_ips: app.addresses.clone(),
            origins: app.origins.iter().map(ToString::to_string).collect(),
            ip_firewall: app.ip_firewall,
            connections_active: metrics.active(),
            connections_opened: metrics.sum(|shard| &shard.opened),
            client_bytes: metrics.sum(|shard| &shard.client_bytes),
            origin_bytes: metrics.sum(|shard| &shard.origin_bytes),
            packets,
        }
    }
}

impl RuleStatus {
    pub(super) fn of(rule: &AccessRule, desired: &DesiredState) -> Self {
        let scope = match rule.scope {
            Scope::User => "user".to_owned(),
            Scope::Zone(id) => {
                desired.zones.iter().find(|zone| zone.id == id).map_or_else(|| id.to_string(), |zone| zone.name.clone())
            }
        };
        Self {
            id: rule.id.to_string(),
            mode: rule.mode.as_str().to_owned(),
            target: Configuration::of(rule.target).value,
            scope,
            notes: rule.notes.clone(),
            simulate: rule.simulate,
            expires_on: rule.expires_on.map(|time| humantime::format_rfc3339(time).to_string()),
            source: None,
        }
    }
}

impl From<RuleObject> for RuleStatus {
    fn from(rule: RuleObject) -> Self {
        Self {
            id: rule.id,
            mode: if rule.mode == "whitelist" { "allow".to_owned() } else { rule.mode },
            target: rule.configuration.value,
            scope: rule.scope.name.or(rule.scope.id).unwrap_or(rule.scope.kind),
            notes: rule.notes,
            simulate: rule.simulate,
            expires_on: rule.expires_on,
            source: Some(rule.extensions.source),
        }
    }
}
