//! What the daemon shows of itself: read by the control socket, the metrics and the log; never written by them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;

use super::{
    AcmeStatus, AppStatus, CertificateStatus, DaemonStatus, Flood, GeoReport, Predecessor, Protection,
    acme::Hosts,
    describe::describe,
    objects::Objects,
    sample_event,
    samples::{Feed, SampleReader},
    status::RuleCounts,
};
use crate::{
    acme::{HostReport, Reports},
    dataplane::{
        attach::AttachedXdp,
        events::Sample,
        instance::{Report, RuleReport},
        maps::{CounterMaps, MapSource},
        pins::Pins,
        rules::RuleChange,
        status::{self, ReasonCount},
    },
    geo::Databases,
    model::{AcmeChallenge, AppId, Application, DesiredState, Instance, Node, Target},
    origins::Endpoint,
    proxy::AppTable,
    shield,
    telemetry::{EventLog, Metrics},
};

/// The daemon as seen from outside.
pub struct View {
    instance: Instance,
    listening: SocketAddr,
    metrics: Metrics,
    events: EventLog,
    table: watch::Receiver<Arc<AppTable>>,
    counters: Mutex<CounterMaps>,
    progress: Mutex<Progress>,
    pub(super) samples: Feed,
    successor: OnceLock<u32>,
    /// None: no certificates are asked for at a directory.
    acme: OnceLock<(Reports, AcmeChallenge)>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    ready: bool,
    revision: u64,
    objects: Arc<Objects>,
    problem: Option<String>,
    degraded: Vec<String>,
    protection: Option<Protection>,
    geo: Option<GeoReport>,
    databases: Arc<Databases>,
    floods: Vec<Flood>,
    held: RuleCounts,
    left_out: Vec<String>,
    predecessors: Vec<Predecessor>,
}

impl View {
    pub(super) fn new(
        node: &Node,
        pins: &Pins,
        metrics: Metrics,
        events: EventLog,
        table: watch::Receiver<Arc<AppTable>>,
        listening: SocketAddr,
        attached: &[AttachedXdp],
    ) -> anyhow::Result<Self> {
        let counters = CounterMaps::open(MapSource::Pins(pins))?;
        let view = Self {
            instance: node.instance.clone(),
            listening,
            metrics,
            events,
            table,
            counters: Mutex::new(counters),
            progress: Mutex::default(),
            samples: Feed::default(),
            successor: OnceLock::new(),
            acme: OnceLock::new(),
        };
        view.attached(attached);
        Ok(view)
    }

    /// How certificates stand that are asked for.
    pub(super) fn acme(&self, reports: Reports, challenge: AcmeChallenge) {
        let _ = self.acme.set((reports, challenge));
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.change(|progress| progress.ready = ready);
    }

    /// Another process has taken over.
    pub(super) fn handed_over(&self, pid: u32) {
        let _ = self.successor.set(pid);
        self.set_ready(false);
    }

    pub(super) fn predecessors(&self, predecessors: Vec<Predecessor>) {
        self.change(|progress| progress.predecessors = predecessors);
    }

    /// The process that has taken over, if one has.
    pub fn successor(&self) -> Option<u32> {
        self.successor.get().copied()
    }

    pub(super) fn applied(&self, desired: Arc<DesiredState>, report: &Report) {
        let objects = Arc::new(Objects::new(desired, &report.apps, &report.rules));
        self.change(|progress| {
            progress.objects = objects;
            progress.revision = report.revision;
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

    /// Rules that are there, and kept ones that are not in force.
    pub(super) fn held(&self, counts: RuleCounts, left_out: Vec<String>) {
        self.change(|progress| {
            progress.held = counts;
            progress.left_out = left_out;
        });
    }

    /// How many access rules there are.
    pub fn rule_counts(&self) -> RuleCounts {
        self.read(|progress| progress.held)
    }

    /// Whom the rule of a number names.
    pub(super) fn rule_target(&self, number: u32) -> Option<Target> {
        self.read(|progress| progress.objects.rule(number).map(|rule| rule.target))
    }

    /// Which application a number stands for.
    pub(super) fn app_id(&self, number: u32) -> Option<AppId> {
        self.read(|progress| progress.objects.app(number).map(|app| app.id))
    }

    pub(super) fn problem(&self, problem: Option<String>) {
        self.change(|progress| progress.problem = problem);
    }

    pub(super) fn geo(&self, databases: &Arc<Databases>, report: Option<GeoReport>) {
        self.change(|progress| {
            progress.databases = Arc::clone(databases);
            progress.geo = report;
        });
    }

    /// Kernel memory of the table that is in place.
    pub(super) fn geo_bytes(&self) -> usize {
        self.read(|progress| progress.geo.as_ref().map_or(0, |geo| geo.bytes))
    }

    pub(super) fn attached(&self, attached: &[AttachedXdp]) {
        let degraded = attached.iter().filter_map(AttachedXdp::shortfall).collect();
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

    pub fn desired(&self) -> Arc<DesiredState> {
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
        let objects = self.objects();
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = |number| status::of_app(&counters, number).unwrap_or_default();
        objects.numbered().map(|(number, app)| (app.clone(), totals(number))).collect()
    }

    /// What a flood of this kind would show in, by application.
    pub(super) fn counted(&self, kind: shield::Kind) -> Vec<(AppId, shield::Totals)> {
        let objects = self.objects();
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = objects.numbered().filter_map(|(number, app)| {
            let totals = match kind {
                shield::Kind::Syn => shield::Totals {
                    requests: counters.requests(number).ok()?,
                    opened: objects
                        .counted_with(app)
                        .filter_map(|id| self.metrics.known(id))
                        .map(|known| known.sum(|shard| &shard.opened))
                        .sum(),
                },
                shield::Kind::Orphans => shield::Totals { requests: counters.orphans(number).ok()?, opened: 0 },
            };
            Some((app.id, totals))
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
        let applications = self.app_totals();
        let applications = applications
            .into_iter()
            .map(|(app, packets)| AppStatus::of(&app, &self.metrics.app(&app), packets, &self.origins(app.id)))
            .collect();
        let progress = self.read(Clone::clone);
        let (hosts, asked) = self.asked_for();
        let asked_in_vain = asked.iter().filter_map(|report| {
            let problem = report.problem.as_ref()?;
            Some(format!("{}: no certificate from the directory: {problem}", report.host))
        });
        let degraded =
            progress.degraded.into_iter().chain(self.table.borrow().tls_problems()).chain(asked_in_vain).collect();
        DaemonStatus {
            instance: self.instance.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            ready: progress.ready,
            revision: progress.revision,
            problem: progress.problem,
            degraded,
            protection: progress.protection,
            floods: progress.floods,
            geo: progress.geo,
            listening: self.listening,
            certificates: self.certificates(),
            acme: asked.into_iter().map(|report| AcmeStatus::new(report, &hosts)).collect(),
            applications,
            rules: progress.held,
            left_out: progress.left_out,
            predecessors: progress.predecessors,
        }
    }

    /// What clients are shown.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let newest = self.table.borrow().tls().certificates.newest();
        newest.report(SystemTime::now()).into_iter().map(Into::into).collect()
    }

    /// How it stands with the hostnames that certificates are asked for.
    fn asked_for(&self) -> (Hosts, Vec<HostReport>) {
        let Some((reports, challenge)) = self.acme.get() else { return Default::default() };
        let table = self.table.borrow().clone();
        let hosts = Hosts::of(&table, *challenge);
        let reports = hosts.report(reports);
        (hosts, reports)
    }

    /// The origins of an application, as they are now.
    pub fn origins(&self, id: AppId) -> Vec<Arc<Endpoint>> {
        self.table.borrow().app(id).map(|app| app.origins.endpoints()).unwrap_or_default()
    }

    /// A sample in one line for people.
    pub fn describe(&self, sample: &Sample) -> String {
        describe(sample, &self.objects())
    }

    /// A sample as a line of the event stream.
    pub(super) fn sample_line(&self, sample: &Sample, packet: bool) -> String {
        let (objects, databases) =
            self.read(|progress| (Arc::clone(&progress.objects), Arc::clone(&progress.databases)));
        sample_event::line(sample, &*objects, databases.whereabouts(sample.source), packet)
    }

    fn objects(&self) -> Arc<Objects> {
        self.read(|progress| Arc::clone(&progress.objects))
    }

    fn read<T>(&self, read: impl FnOnce(&Progress) -> T) -> T {
        read(&self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
