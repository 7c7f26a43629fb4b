//! What the daemon answers about itself: `GET /status` of the control socket, and the parts that others show too.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    GeoReport,
    acme::{Answer, Hosts},
};
use crate::{
    acme::HostReport,
    dataplane::status::ReasonCount,
    model::{AccessRule, Application, DesiredState, Origins, Scope},
    origins::Endpoint,
    rules::{Configuration, RuleObject},
    shield::Likeness,
    telemetry::AppMetrics,
    tls::certificates::CertificateReport,
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

/// A process that this one took over from, while it drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    pub pid: u32,
    /// Open ones that it still has.
    pub connections: u64,
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
    /// What clients are shown, and what should be there and cannot be used.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Hostnames that certificates are asked for at a directory.
    #[serde(default)]
    pub acme: Vec<AcmeStatus>,
    pub applications: Vec<AppStatus>,
    #[serde(default)]
    pub rules: RuleCounts,
    /// Kept rules of operators that are not in force, and why.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// Processes that drain.
    #[serde(default)]
    pub predecessors: Vec<Predecessor>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    pub id: String,
    pub hostname: String,
    pub protocol: String,
    /// `off`, `flexible`, `full` or `strict`.
    #[serde(default)]
    pub tls: String,
    /// The names by which clients choose it among others on its addresses.
    #[serde(default)]
    pub sni: Vec<String>,
    pub edge_ips: Vec<IpAddr>,
    /// The name of which the origins are the addresses, with its ports and records.
    #[serde(default)]
    pub origin_dns: Option<String>,
    /// None where a name has not been resolved yet.
    pub origins: Vec<OriginStatus>,
    pub ip_firewall: bool,
    pub connections_active: u64,
    pub connections_opened: u64,
    pub client_bytes: u64,
    pub origin_bytes: u64,
    /// The XDP program's verdicts on its packets.
    pub packets: Vec<ReasonCount>,
}

/// One certificate, or a place where there should be one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    pub path: PathBuf,
    /// Whom it is for; nobody where nothing can be read.
    pub names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub issuer: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_after: Option<i64>,
    /// SHA-256, in hex digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fingerprint: Option<String>,
    pub problems: Vec<String>,
}

/// A port of an edge address where challenges are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerStatus {
    pub at: SocketAddr,
    /// No application has the port: challenges are answered, and nothing else.
    pub alone: bool,
}

/// A hostname that a certificate is asked for at a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeStatus {
    pub host: String,
    /// `absent`, `ordering`, `held`, `expired` or `impossible`.
    pub state: String,
    /// Where its challenges are answered.
    #[serde(default)]
    pub answers: Vec<AnswerStatus>,
    /// Why the last try came to nothing, or why there can be none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// When it is tried next or renewed, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_try: Option<i64>,
    /// The end of the certificate that is there, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_after: Option<i64>,
}

/// One origin, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginStatus {
    /// With its port or ports.
    pub address: String,
    pub up: bool,
    /// Why it is left out, while it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<String>,
    /// Connections that are open to it.
    pub open: usize,
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
    pub(super) fn of(
        app: &Application,
        metrics: &AppMetrics,
        packets: Vec<ReasonCount>,
        origins: &[Arc<Endpoint>],
    ) -> Self {
        Self {
            id: app.id.to_string(),
            hostname: app.hostname.clone(),
            protocol: app.protocol.to_string(),
            tls: app.tls.mode.to_string(),
            sni: app.sni.iter().map(str::to_owned).collect(),
            edge_ips: app.addresses.clone(),
            origin_dns: matches!(app.origins, Origins::Dns(_)).then(|| app.origins.to_string()),
            origins: origins.iter().map(|origin| OriginStatus::of(origin)).collect(),
            ip_firewall: app.ip_firewall,
            connections_active: metrics.active(),
            connections_opened: metrics.sum(|shard| &shard.opened),
            client_bytes: metrics.sum(|shard| &shard.client_bytes),
            origin_bytes: metrics.sum(|shard| &shard.origin_bytes),
            packets,
        }
    }
}

impl From<CertificateReport> for CertificateStatus {
    fn from(report: CertificateReport) -> Self {
        let CertificateReport { path, certificate, problems, .. } = report;
        let Some(certificate) = certificate else { return Self { path, problems, ..Self::default() } };
        Self {
            path,
            not_after: Some(OffsetDateTime::from(certificate.not_after).unix_timestamp()),
            key_type: Some(certificate.key_type.word().to_owned()),
            issuer: Some(certificate.issuer),
            fingerprint: Some(certificate.fingerprint),
            names: certificate.names,
            problems,
        }
    }
}

impl From<&Answer> for AnswerStatus {
    fn from(answer: &Answer) -> Self {
        Self { at: answer.at, alone: answer.alone }
    }
}

impl fmt::Display for AnswerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.at, if self.alone { " (for nothing else)" } else { "" })
    }
}

impl AcmeStatus {
    pub(super) fn new(report: HostReport, hosts: &Hosts) -> Self {
        let seconds = |time| OffsetDateTime::from(time).unix_timestamp();
        Self {
            answers: hosts.answers(&report.host).iter().map(AnswerStatus::from).collect(),
            host: report.host,
            state: report.state.as_str().to_owned(),
            problem: report.problem,
            next_try: report.next_try.map(seconds),
            not_after: report.not_after.map(seconds),
        }
    }
}

impl OriginStatus {
    fn of(origin: &Endpoint) -> Self {
        Self { address: origin.to_string(), up: origin.is_up(), failure: origin.failure(), open: origin.open() }
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
