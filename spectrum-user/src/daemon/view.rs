//! What the daemon shows of itself: read by the control socket, the metrics and the log; never written by them.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use spectrum_common::layout::ObjectId;

use super::{
    GeoReport,
    objects::Objects,
    sample_event::{self, AppName},
    samples::{Feed, SampleReader},
};
use crate::{
    dataplane::{
        attach::AttachedXdp,
        events::Sample,
        instance::{Report, RuleReport},
        maps::{CounterMaps, MapSource},
        numbers::Names,
        pins::Pins,
        rules::RuleChange,
        status::{self, ReasonCount},
    },
    model::{AccessRule, AppId, Application, DesiredState, Instance, Node, Target},
    rules::{Configuration, RuleObject},
    shield,
    telemetry::{EventLog, Metrics},
};

/// The daemon as seen from outside.
pub struct View {
    instance: Instance,
    listening: SocketAddr,
    metrics: Metrics,
    events: EventLog,
    counters: Mutex<CounterMaps>,
    progress: Mutex<Progress>,
    pub(super) samples: Feed,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    ready: bool,
    revision: u64,
    apps: Names,
    objects: Arc<Objects>,
    problem: Option<String>,
    degraded: Vec<String>,
    protection: Option<Protection>,
    geo: Option<GeoReport>,
    floods: Vec<Flood>,
    held: RuleCounts,
}

/// A flood that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flood {
    /// `syn`, or `orphans`: TCP segments of no connection.
    pub kind: String,
    /// The id of the application that it is for.
    pub application: String,
    pub name: String,
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
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    pub id: String,
    pub hostname: String,
    pub protocol: String,
    pub edge_ips: Vec<std::net::IpAddr>,
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

impl View {
    pub(super) fn new(
        node: &Node,
        pins: &Pins,
        metrics: Metrics,
        events: EventLog,
        listening: SocketAddr,
        attached: &[AttachedXdp],
    ) -> anyhow::Result<Self> {
        let counters = CounterMaps::open(MapSource::Pins(pins))?;
        let view = Self {
            instance: node.instance.clone(),
            listening,
            metrics,
            events,
            counters: Mutex::new(counters),
            progress: Mutex::default(),
            samples: Feed::default(),
        };
        view.attached(attached);
        Ok(view)
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.change(|progress| progress.ready = ready);
    }

    pub(super) fn applied(&self, desired: Arc<DesiredState>, report: Report) {
        let objects = Arc::new(Objects::new(desired, &report.apps, &report.rules));
        self.change(|progress| {
            progress.objects = objects;
            progress.revision = report.revision;
            progress.apps = report.apps;
        });
    }

    /// Rules went and others came.
    pub(super) fn ruled(&self, change: RuleChange<'_>, report: &RuleReport) {
        self.change(|progress| {
            // Copied only while somebody is reading.
            Arc::make_mut(&mut progress.objects).change(change, &report.renamed);
            progress.revision = report.revision;
        });
    }

    pub(super) fn held(&self, counts: RuleCounts) {
        self.change(|progress| progress.held = counts);
    }

    /// How many access rules there are.
    pub fn rule_counts(&self) -> RuleCounts {
        self.read(|progress| progress.held)
    }

    /// Whom the rule of a number names.
    pub(super) fn rule_target(&self, number: u32) -> Option<Target> {
        self.read(|progress| progress.objects.rule(number).map(|rule| rule.target))
    }

    pub(super) fn problem(&self, problem: Option<String>) {
        self.change(|progress| progress.problem = problem);
    }

    pub(super) fn geo(&self, report: Option<GeoReport>) {
        self.change(|progress| progress.geo = report);
    }

    /// Kernel memory of the table that is in place.
    pub(super) fn geo_bytes(&self) -> usize {
        self.read(|progress| progress.geo.as_ref().map_or(0, |geo| geo.bytes))
    }

    pub(super) fn attached(&self, attached: &[AttachedXdp]) {
        let degraded = attached
            .iter()
            .filter_map(|attached| {
                Some(format!("generic XDP on {}: {}", attached.interface, attached.degraded.as_ref()?))
            })
            .collect();
        self.change(|progress| progress.degraded = degraded);
    }

    /// Samples of packets from now on.
    pub fn samples(&self) -> SampleReader {
        self.samples.subscribe()
    }

    /// Samples that came from the kernel, and how many of them readers were too slow for.
    pub fn sampled(&self) -> (u64, u64) {
        (self.samples.passed(), self.samples.lost())
    }

    pub(super) fn desired(&self) -> Arc<DesiredState> {
        self.read(|progress| Arc::clone(progress.objects.desired()))
    }

    pub fn ready(&self) -> bool {
        self.read(|progress| progress.ready)
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// Verdicts of the XDP program by reason, over all traffic.
    pub fn totals(&self) -> anyhow::Result<Vec<ReasonCount>> {
        status::total(&self.counters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`Self::totals`], per application.
    pub fn app_totals(&self) -> Vec<(Application, Vec<ReasonCount>)> {
        let (desired, apps) = self.read(|progress| (Arc::clone(progress.objects.desired()), progress.apps.clone()));
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        desired
            .applications
            .iter()
            .map(|app| {
                let number = number(&apps, app.id.bytes());
                let packets = number.and_then(|number| status::of_app(&counters, number).ok()).unwrap_or_default();
                (app.clone(), packets)
            })
            .collect()
    }

    /// What a flood of this kind would show in, by application.
    pub(super) fn counted(&self, kind: shield::Kind) -> Vec<(AppId, shield::Totals)> {
        let apps = self.read(|progress| progress.apps.clone());
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = apps.iter().filter_map(|(number, name)| {
            let id = AppId::from_bytes(name.id);
            let totals = match kind {
                shield::Kind::Syn => shield::Totals {
                    requests: counters.requests(*number).ok()?,
                    opened: self.metrics.known(id)?.sum(|shard| &shard.opened),
                },
                shield::Kind::Orphans => shield::Totals { requests: counters.orphans(*number).ok()?, opened: 0 },
            };
            Some((id, totals))
        });
        totals.collect()
    }

    pub(super) fn flooded(&self, floods: Vec<Flood>) {
        self.change(|progress| progress.floods = floods);
    }

    /// The floods that are under way.
    pub fn floods(&self) -> Vec<Flood> {
        self.read(|progress| progress.floods.clone())
    }

    pub(super) fn protected(&self, protection: Option<Protection>) {
        self.change(|progress| progress.protection = protection);
    }

    /// What the protected mode is on for, while it is on.
    pub fn protection(&self) -> Option<Protection> {
        self.read(|progress| progress.protection.clone())
    }

    /// An application as people call it.
    pub(super) fn name(&self, id: AppId) -> String {
        let desired = self.desired();
        let app = desired.applications.iter().find(|app| app.id == id);
        app.map_or_else(|| id.to_string(), |app| format!("{} {}", app.hostname, app.protocol))
    }

    pub fn status(&self) -> DaemonStatus {
        let applications = self.app_totals().into_iter().map(|(app, packets)| self.app_status(&app, packets)).collect();
        let progress = self.read(Clone::clone);
        DaemonStatus {
            instance: self.instance.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            ready: progress.ready,
            revision: progress.revision,
            problem: progress.problem,
            degraded: progress.degraded,
            protection: progress.protection,
            floods: progress.floods,
            geo: progress.geo,
            listening: self.listening,
            applications,
            rules: progress.held,
        }
    }

    /// A sample in one line for people.
    pub fn describe(&self, sample: &Sample) -> String {
        let objects = self.read(|progress| Arc::clone(&progress.objects));
        let app = sample.app.and_then(|number| objects.app(number));
        let rule = sample.rule.and_then(|number| objects.rule(number));
        let (from, to) = sample_event::ends(sample);
        let mut line = format!("{} {from} -> {to}: {}", sample.reason.as_str(), sample.reason.explain());
        // Writing into a string cannot fail.
        if let Some(app) = app {
            let _ = write!(line, "; application {} {}", app.hostname, app.protocol);
        }
        if let Some(rule) = rule {
            let _ = write!(line, "; rule {}", rule.target);
            if !rule.notes.is_empty() {
                let _ = write!(line, " \"{}\"", rule.notes);
            }
        }
        if sample.drops > 1 {
            let _ = write!(line, "; it stands for {} drops", sample.drops);
        }
        line
    }

    /// A sample as a line of the event stream.
    pub(super) fn sample_line(&self, sample: &Sample, packet: bool) -> String {
        sample_event::line(sample, &*self.read(|progress| Arc::clone(&progress.objects)), packet)
    }

    fn app_status(&self, app: &Application, packets: Vec<ReasonCount>) -> AppStatus {
        let metrics = self.metrics.app(app);
        AppStatus {
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

    fn read<T>(&self, read: impl FnOnce(&Progress) -> T) -> T {
        read(&self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl sample_event::Naming for Objects {
    fn app(&self, number: u32) -> Option<AppName> {
        let app = Self::app(self, number)?;
        Some(AppName { id: app.id.to_string(), hostname: app.hostname.clone(), protocol: app.protocol.to_string() })
    }

    fn rule(&self, number: u32) -> Option<serde_json::Value> {
        serde_json::to_value(RuleStatus::of(Self::rule(self, number)?, self.desired())).ok()
    }
}

impl RuleStatus {
    fn of(rule: &AccessRule, desired: &DesiredState) -> Self {
        use crate::model::Scope;
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

fn number(names: &Names, id: [u8; 16]) -> Option<u32> {
    names.iter().find(|(_, name)| **name == ObjectId { id }).map(|(number, _)| *number)
}
