//! SIGHUP: an edited file becomes the state that is served, or nothing changes.

use std::{sync::Arc, time::SystemTime};

use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};

use super::{
    GeoReport, Refusal, Running,
    calls::{Asked, Wishes},
    cut_off::Standing,
    geo, operators,
    rules::kept,
    start::{plan, report_foreign},
};
use crate::{
    config::ConfigErrors,
    dataplane::instance::{InstanceError, Report},
    geo::Databases,
    model::{AccessRule, DesiredState, Geo, Node},
    proxy::{AccessRules, AppTable},
    rules::{self, RuleSource},
    service::notify,
    state::Plan,
    tls::Shared,
};

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub revision: u64,
    /// Into the kernel's maps.
    pub writes: usize,
    pub applications: usize,
    /// What an operator should know.
    pub messages: Vec<String>,
}

impl Running {
    /// A reload that somebody waits for.
    pub(super) async fn answer_reload(&mut self, asked: Asked<Wishes, Reloaded>) {
        let Asked { request, answer } = asked;
        let result = Box::pin(self.reload(Some(&request))).await.map_err(|error| {
            let refusal = Refusal::new(409, "not reloaded, everything stays as it was");
            match error.downcast_ref::<ConfigErrors>() {
                Some(errors) => Refusal { report: Some(errors.to_string()), ..refusal },
                None => Refusal { message: format!("{}: {error:#}", refusal.message), ..refusal },
            }
        });
        // Whoever asked may have gone.
        let _ = answer.send(result);
    }

    /// Applies the edited file. What cannot be applied leaves everything as it was, and says so. A signal has no
    /// wishes: it says nothing of who sent it.
    pub(super) async fn reload(&mut self, wishes: Option<&Wishes>) -> anyhow::Result<Reloaded> {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => log::warn!("the service manager was not told when: {error}"),
        }
        let result = self.try_reload(wishes).await;
        match &result {
            Ok(reloaded) => {
                log::info!("reloaded: {}", reloaded.summary());
                self.view.problem(None);
            }
            Err(error) => {
                log::error!("not reloaded, everything stays as it was: {error:#}");
                self.view.problem(Some(format!("{error:#}")));
            }
        }
        notify(&[NotifyState::Ready]);
        result
    }

    /// An interface came, went or changed: the filter goes back onto those that were recreated.
    pub(super) async fn follow(&mut self) {
        match self.kernel.follow(&self.node.filter, &self.netlink).await {
            Ok(false) => {}
            Ok(true) => {
                log::warn!("an interface was recreated: the filter is on it again");
                self.view.attached(self.kernel.attached());
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                log::error!("a recreated interface is not filtered: {error}");
                self.view.problem(Some(error));
            }
        }
    }

    async fn try_reload(&mut self, wishes: Option<&Wishes>) -> anyhow::Result<Reloaded> {
        let config = self.source.read()?;
        fixed(&self.node, &config.node)?;
        let Plan { mut desired, assigned } = plan(&config)?;
        let before = self.view.desired();
        // What the daemon decided under other settings is decided anew, and what no database knows any more is over.
        let anew = config.node.shield.auto != self.node.shield.auto;
        let is_over = |rule: &AccessRule| anew || !config.node.geo.knows(rule.target);
        let made = before.rules.iter().filter_map(|rule| Some((rule, self.book.facts(rule.id)?)));
        let made = made.filter(|(rule, facts)| facts.source != RuleSource::Auto || !is_over(rule));
        let now = SystemTime::now();
        let again = rules::again(&self.left_out, &desired.zones, &config.node.geo);
        let (book, gone) = self.book.join(&mut desired, made.chain(kept(&again.rules, now)), now);
        groundless(&desired, &config.node.geo)?;
        let found = geo::find(&config, &self.geo).await?;
        let new_geo = !Arc::ptr_eq(&found.databases, &self.geo) || config.node.geo.memory != self.node.geo.memory;
        self.refuse_cutting_off_by_file(&before, &desired, &found.databases, wishes)?;
        let kept = assigned.keep()?;
        // The table before the rules that ask it: a packet in between meets the old rules, and the class from either.
        let geo_bytes =
            if new_geo { Some(self.kernel.set_geo(&found.databases.table, config.node.geo.memory)?) } else { None };
        let previous = self.table.borrow().clone();
        let tls = Shared { handshakes: config.node.tls.handshakes, ..previous.tls().clone() };
        let table =
            AppTable::new(&desired, Arc::clone(&found.databases), &tls, Some(&previous), &self.telemetry.metrics);
        // The table first: what the kernel steers from now on must be known here.
        self.table.send_replace(Arc::new(table));
        let reattach = config.node.filter != self.node.filter;
        let report = match self.bring_about(&desired, &config.node, reattach).await {
            Ok(report) => report,
            Err(error) => {
                self.table.send_replace(previous);
                let node = self.node.clone();
                if new_geo && let Err(again) = self.kernel.set_geo(&self.geo.table, node.geo.memory) {
                    log::error!("the table before could not be restored: {:#}", anyhow::Error::new(again));
                }
                if let Err(again) = self.bring_about(&before, &node, reattach).await {
                    log::error!("the state before could not be restored: {:#}", anyhow::Error::new(again));
                }
                return Err(error.into());
            }
        };
        kept.confirm();
        self.assigned = assigned;
        self.book = book;
        self.left_out = again.left_out;
        self.auto.keep(&desired, &self.book);
        let mut messages: Vec<String> =
            config.notes.iter().map(|note| note.to_string().trim_end().to_owned()).collect();
        for note in gone {
            log::warn!("{note}");
            messages.push(note);
        }
        if let Some(problem) = &found.problem {
            messages.push(format!("{problem}; what was read of it before stays in use"));
        }
        report_foreign(&report);
        if reattach {
            self.view.attached(self.kernel.attached());
        }
        let geo_bytes = geo_bytes.unwrap_or_else(|| self.view.geo_bytes());
        let geo = GeoReport::new(&found.databases, &config.node.geo, geo_bytes, found.problem);
        self.view.geo(&found.databases, geo);
        self.geo = found.databases;
        self.drain = config.node.drain;
        self.node = config.node;
        self.telemetry.metrics.prune();
        let reloaded = Reloaded {
            revision: report.revision,
            writes: report.writes,
            applications: desired.applications.len(),
            messages,
        };
        self.view.applied(Arc::new(desired), &report);
        self.tell_rules();
        Ok(reloaded)
    }

    /// Refuses a file by which an operator is blocked who is not blocked now. Where nobody is known to have asked, that
    /// is whoever is logged in.
    fn refuse_cutting_off_by_file(
        &self,
        before: &DesiredState,
        after: &DesiredState,
        databases: &Databases,
        wishes: Option<&Wishes>,
    ) -> anyhow::Result<()> {
        if wishes.is_some_and(|wishes| wishes.force) {
            return Ok(());
        }
        let previous = self.table.borrow();
        let previous = Standing { applications: &before.applications, rules: previous.rules(), table: &self.geo.table };
        let rules = AccessRules::new(&after.rules);
        let standing = Standing { applications: &after.applications, rules: &rules, table: &databases.table };
        let (operators, whose) = wishes.map_or_else(operators::logged_in, Wishes::operators);
        standing.refuse(&previous.blocked(&operators), &after.rules, &operators, whose)
    }

    /// Maps and routes first, then the filter onto other interfaces where they changed.
    pub(super) async fn bring_about(
        &mut self,
        desired: &DesiredState,
        node: &Node,
        reattach: bool,
    ) -> Result<Report, InstanceError> {
        let report = self.kernel.reconcile(desired, &self.netlink).await?;
        if reattach {
            self.kernel.attach(&node.filter, &self.netlink).await?;
        }
        Ok(report)
    }
}

impl Reloaded {
    pub fn summary(&self) -> String {
        let Self { revision, writes, applications, .. } = self;
        format!("revision {revision}, {writes} writes to the kernel, {applications} applications")
    }
}

/// Refuses to take away what tells whom a rule names: it would be in the list, and do nothing.
fn groundless(desired: &DesiredState, geo: &Geo) -> anyhow::Result<()> {
    let groundless: Vec<String> = desired
        .rules
        .iter()
        .filter(|rule| !geo.knows(rule.target))
        .map(|rule| format!("{} {}", rule.mode.as_str(), rule.target))
        .collect();
    let few = groundless.get(..MOST_NAMED.min(groundless.len())).unwrap_or_default().join(", ");
    let more = groundless.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    anyhow::ensure!(
        groundless.is_empty(),
        "[geo] of the file names no database for rules that were made while the daemon ran: {few}{more}; name it again, or \
         delete these rules first (`spectrum rule delete`)"
    );
    Ok(())
}

/// Rules that one message names.
const MOST_NAMED: usize = 8;

/// Refuses changes that only a restart can make.
fn fixed(before: &Node, after: &Node) -> anyhow::Result<()> {
    let changed = [
        ("node.instance", before.instance != after.instance),
        ("node.workers", before.workers != after.workers),
        ("node.state_dir", before.state_dir != after.state_dir),
        ("api.listen", before.api != after.api),
        ("metrics.listen", before.metrics != after.metrics),
        ("tls.certificates", before.tls.certificates != after.tls.certificates),
        ("tls.acme", before.tls.acme != after.tls.acme),
        ("tls.seal_key", before.tls.seal_key != after.tls.seal_key),
        ("events.file", before.events != after.events),
        ("node.source_addresses", before.sources.addresses != after.sources.addresses),
        ("node.source_ports", before.sources.ports != after.sources.ports),
    ];
    let names: Vec<&str> = changed.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect();
    anyhow::ensure!(
        names.is_empty(),
        "{} cannot change while the daemon runs: restart it, or change it back",
        names.join(", ")
    );
    Ok(())
}
