//! Access rules that change while the daemon runs: by an operator, and by the clock.
//!
//! A rule is in the kernel before whoever asked for it gets an answer; then every worker has it, which ends the open
//! connections that it blocks; then it is kept.

use std::{net::IpAddr, time::Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spectrum_common::limits;
use tokio::sync::{mpsc, oneshot};

use super::{Running, status::RuleCounts};
use crate::{
    config::{self, ConfigErrors},
    dataplane::{
        image::ImageError,
        instance::{InstanceError, RuleReport},
        rules::RuleChange,
    },
    model::{AccessRule, DesiredState, Node, RuleId, RuleMode, Zone},
    proxy::{Access, AppTable},
    rules::{self, Book, Configuration, Facts, Kept, Now, RuleObject, RuleSource},
    telemetry::{NodeEvent, NodeEventKind},
};

/// What an operator wants of the rules.
#[derive(Debug)]
pub enum RuleRequest {
    /// All of them, or those that name this: the `value` of their configuration.
    List(Option<String>),
    Get(RuleId),
    /// The product's rule object, with `extensions`: [`Wishes`].
    Create(Value),
    /// Keys of it that change.
    Update(RuleId, Value),
    Delete(RuleId),
}

/// How a change is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wishes {
    /// Do it even where it cuts off who asks for it.
    pub force: bool,
    /// Where the operator is connected from.
    pub operator: Vec<IpAddr>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleAnswer {
    pub rules: Vec<RuleObject>,
    /// What an operator should know.
    pub messages: Vec<String>,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The HTTP status.
    #[serde(skip)]
    pub status: u16,
    /// The product's code, where it has one.
    pub code: Option<u16>,
    pub message: String,
    pub help: Option<String>,
}

/// One request and where its answer goes.
pub struct RuleCall {
    pub request: RuleRequest,
    pub answer: oneshot::Sender<Result<RuleAnswer, Refusal>>,
}

/// Requests that wait. Whoever comes beyond waits too.
const QUEUE: usize = 64;
/// Rules that one change writes without reading everything.
const FEW: usize = 64;

pub(super) fn calls() -> (mpsc::Sender<RuleCall>, mpsc::Receiver<RuleCall>) {
    mpsc::channel(QUEUE)
}

/// Joins the file's rules with those that were kept.
pub(super) fn begin(desired: &mut DesiredState, node: &Node) -> anyhow::Result<Book> {
    let now = Now::read();
    let loaded = rules::read(&node.state_dir, &desired.zones, &node.geo)?;
    for note in &loaded.notes {
        log::warn!("{note}");
    }
    let made = loaded.rules.iter().map(|Kept { rule, created, modified }| {
        (rule, Facts::new(RuleSource::Operator, rule, now).made(*created, *modified))
    });
    let (book, gone) = Book::default().join(desired, made, now);
    for note in gone {
        log::warn!("{note}");
    }
    Ok(book)
}

/// The next thing to do about rules: a request, or (None) a rule that ends.
pub(super) async fn due(book: &Book, calls: &mut mpsc::Receiver<RuleCall>) -> Option<RuleCall> {
    let end = book.next_end().map(tokio::time::Instant::from_std);
    let ends = async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        Some(call) = calls.recv() => Some(call),
        () = ends => None,
    }
}

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, code: None, message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    fn code(self, code: u16) -> Self {
        Self { code: Some(code), ..self }
    }
}

impl From<&ConfigErrors> for Refusal {
    fn from(errors: &ConfigErrors) -> Self {
        let first = errors.as_slice().first();
        Self {
            status: 400,
            code: first.and_then(|first| first.code),
            message: errors.brief(),
            help: first.and_then(|first| first.help.clone()),
        }
    }
}

impl From<InstanceError> for Refusal {
    fn from(error: InstanceError) -> Self {
        if let InstanceError::Apply(error) = &error
            && error.is_full()
        {
            let message =
                format!("the map of access rules is full: it holds {} prefixes of a family", limits::RULE_PREFIXES);
            return Self::new(409, message)
                .help("nothing was changed; remove rules, or reload, which takes away what is not ours");
        }
        let full = matches!(error, InstanceError::Image(ImageError::RulePrefixes { .. } | ImageError::Exhausted(_)));
        let refusal = Self::new(if full { 409 } else { 500 }, format!("{:#}", anyhow::Error::new(error)));
        if full { refusal.help("remove rules, or join neighbouring addresses into prefixes") } else { refusal }
    }
}

impl Running {
    /// Does what is asked, and tells.
    pub(super) async fn answer(&mut self, call: RuleCall) {
        let RuleCall { request, answer } = call;
        let result = match request {
            RuleRequest::List(value) => Ok(self.list(value.as_deref())),
            RuleRequest::Get(id) => self.found(id).map(|rule| self.answer_with(&rule, Vec::new())),
            RuleRequest::Create(value) => Box::pin(self.create(value)).await,
            RuleRequest::Update(id, value) => Box::pin(self.update(id, value)).await,
            RuleRequest::Delete(id) => Box::pin(self.delete(id)).await,
        };
        // Whoever asked may have gone.
        let _ = answer.send(result);
    }

    /// Takes away the rules whose time is over.
    pub(super) async fn end_rules(&mut self) {
        let ended = self.book.ended(Instant::now());
        let desired = self.view.desired();
        let removed: Vec<AccessRule> = desired.rules.iter().filter(|rule| ended.contains(&rule.id)).cloned().collect();
        drop(desired);
        match self.change(RuleChange { removed: &removed, added: &[] }).await {
            Ok(()) => {
                for rule in &removed {
                    let source = self.source(rule).as_str();
                    log::info!("the {source} rule {} {} has ended (rule {})", rule.mode.as_str(), rule.target, rule.id);
                    self.forget(rule, "its time is over");
                }
                self.tell_rules();
                if let Err(error) = self.keep() {
                    log::error!("{error}");
                }
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                log::error!("rules whose time is over are still in force: {error}");
                self.view.problem(Some(error));
            }
        }
        // Also those that could not be taken away: the next change reads everything and removes them.
        for id in ended {
            self.book.remove(id);
        }
    }

    fn list(&self, value: Option<&str>) -> RuleAnswer {
        let desired = self.view.desired();
        let meant = |rule: &&AccessRule| value.is_none_or(|value| Configuration::of(rule.target).value == value);
        let objects = desired.rules.iter().filter(meant).filter_map(|rule| self.object(rule, &desired.zones));
        RuleAnswer { rules: objects.collect(), messages: Vec::new() }
    }

    async fn create(&mut self, value: Value) -> Result<RuleAnswer, Refusal> {
        let (rule, wishes, mut messages) = self.read(value)?;
        let desired = self.view.desired();
        let same =
            |other: &&AccessRule| other.id == rule.id || (other.scope, other.target) == (rule.scope, rule.target);
        let mut removed = Vec::new();
        if let Some(other) = desired.rules.iter().find(same) {
            // What the daemon thought is overruled.
            if self.source(other) == RuleSource::Auto {
                removed.push(other.clone());
            } else {
                let source = self.source(other).as_str();
                let message = format!("there is a rule for {} in that scope: {} ({source})", other.target, other.id);
                return Err(Refusal::new(409, message).code(10009).help("update that one, or delete it first"));
            }
        }
        self.refuse_cutting_off(&rule, &wishes, &desired)?;
        if !desired.applications.iter().any(|app| app.ip_firewall) {
            messages.push("no application has ip_firewall = true: no rule is asked".to_owned());
        }
        drop(desired);
        let facts = Facts::new(RuleSource::Operator, &rule, Now::read());
        self.change(RuleChange { removed: &removed, added: std::slice::from_ref(&rule) }).await?;
        for gone in &removed {
            self.forget(gone, "an operator's rule takes its place");
        }
        self.learn(&rule, facts);
        log::info!("an operator's rule: {} {} (rule {})", rule.mode.as_str(), rule.target, rule.id);
        self.kept(&mut messages);
        Ok(self.answer_with(&rule, messages))
    }

    async fn update(&mut self, id: RuleId, value: Value) -> Result<RuleAnswer, Refusal> {
        let before = self.changeable(id)?;
        let facts = self.book.facts(id).ok_or_else(|| unknown(id))?;
        let zones = self.view.desired().zones.clone();
        let mut merged = self.written(&before, &zones);
        let Value::Object(changes) = value else { return Err(Refusal::new(400, "the body is not a rule object")) };
        for (key, value) in changes {
            if key == "configuration" && merged.get("configuration") != Some(&value) {
                let refusal = Refusal::new(400, "`configuration` of a rule cannot change");
                return Err(refusal.help("delete the rule and create another one"));
            }
            // A merge patch: null takes a key away.
            if value.is_null() {
                merged.remove(&key);
            } else {
                merged.insert(key, value);
            }
        }
        let (rule, wishes, mut messages) = self.read(Value::Object(merged))?;
        self.refuse_cutting_off(&rule, &wishes, &self.view.desired())?;
        let now = Now::read();
        // Who changes a rule of the daemon's makes it its own.
        let facts = Facts::new(RuleSource::Operator, &rule, now).made(facts.created, now.wall);
        self.change(RuleChange { removed: std::slice::from_ref(&before), added: std::slice::from_ref(&rule) }).await?;
        self.forget(&before, "an operator changed it");
        self.learn(&rule, facts);
        log::info!("an operator changed a rule: {} {} (rule {id})", rule.mode.as_str(), rule.target);
        self.kept(&mut messages);
        Ok(self.answer_with(&rule, messages))
    }

    async fn delete(&mut self, id: RuleId) -> Result<RuleAnswer, Refusal> {
        let rule = self.changeable(id)?;
        let mut answer = self.answer_with(&rule, Vec::new());
        self.change(RuleChange { removed: std::slice::from_ref(&rule), added: &[] }).await?;
        if self.source(&rule) == RuleSource::Auto {
            self.auto.taken_away(&rule);
        }
        self.forget(&rule, "an operator took it away");
        log::info!("an operator removed a rule: {} {} (rule {id})", rule.mode.as_str(), rule.target);
        self.kept(&mut answer.messages);
        Ok(answer)
    }

    /// A rule is in force from now on.
    pub(super) fn learn(&mut self, rule: &AccessRule, facts: Facts) {
        self.book.insert(rule.id, facts);
        let event = self.event(NodeEventKind::RuleBegan, rule);
        let event = match rule.expires_on {
            Some(end) => event.with("expires_on", humantime::format_rfc3339_seconds(end).to_string()),
            None => event,
        };
        self.telemetry.events.tell(event);
        self.tell_rules();
    }

    /// A rule is in force no more.
    pub(super) fn forget(&mut self, rule: &AccessRule, why: &str) {
        self.telemetry.events.tell(self.event(NodeEventKind::RuleEnded, rule).with("why", why));
        self.auto.ended(rule);
        self.book.remove(rule.id);
        self.tell_rules();
    }

    fn event(&self, kind: NodeEventKind, rule: &AccessRule) -> NodeEvent {
        NodeEvent::now(kind)
            .with("rule", rule.id.to_string())
            .with("mode", rule.mode.as_str())
            .with("target", rule.target.to_string())
            .with("source", self.source(rule).as_str())
            .with("simulate", rule.simulate)
            .with("notes", rule.notes.clone())
    }

    /// Shows how many rules there are.
    pub(super) fn tell_rules(&self) {
        let [file, operator, auto] =
            [RuleSource::File, RuleSource::Operator, RuleSource::Auto].map(|source| self.book.count(source));
        let (rules, v4, v6) = self.kernel.fill();
        self.view.held(RuleCounts { file, operator, auto, rules, v4, v6 });
    }

    /// Brings a change about: the kernel, the workers, the view. What the kernel refuses changes nothing.
    pub(super) async fn change(&mut self, change: RuleChange<'_>) -> Result<(), InstanceError> {
        let desired = self.view.desired();
        if let Some(report) = self.write(change, &desired)? {
            // Ours is the last but the view's own: it changes in place.
            drop(desired);
            self.view.ruled(change, &report);
            return Ok(());
        }
        let rules = change.of(&desired.rules).cloned().collect();
        let desired = DesiredState { rules, ..DesiredState::clone(&desired) };
        let report = self.kernel.reconcile(&desired, &self.netlink).await?;
        let previous = self.table.borrow().clone();
        let table = AppTable::new(&desired, self.geo.clone(), Some(&previous), &self.telemetry.metrics);
        self.table.send_replace(table.into());
        self.view.applied(desired.into(), &report);
        Ok(())
    }

    /// A change of few rules, into the kernel and to the workers. None: it takes the long way.
    fn write(&mut self, change: RuleChange<'_>, desired: &DesiredState) -> Result<Option<RuleReport>, InstanceError> {
        if change.removed.len() + change.added.len() > FEW {
            return Ok(None);
        }
        let after = change.of(&desired.rules);
        let Some(report) = self.kernel.change_rules(change, after.clone())? else { return Ok(None) };
        let previous = self.table.borrow().clone();
        let changed = previous.rules().changed(change.removed.iter().chain(change.added), &after);
        self.table.send_replace(previous.with_rules(changed).into());
        Ok(Some(report))
    }

    /// A request's rule, by the reader of the configuration file.
    fn read(&self, value: Value) -> Result<(AccessRule, Wishes, Vec<String>), Refusal> {
        let Value::Object(mut object) = value else { return Err(Refusal::new(400, "the body is not a rule object")) };
        let wishes = match object.remove("extensions") {
            None => Wishes::default(),
            Some(wishes) => {
                serde_json::from_value(wishes).map_err(|error| Refusal::new(400, format!("`extensions`: {error}")))?
            }
        };
        object.retain(|_, value| !value.is_null());
        let text = toml::to_string(&object).map_err(|error| Refusal::new(400, error.to_string()))?;
        let zones = self.view.desired().zones.clone();
        let (rule, notes) =
            config::rule(&text, "the rule", &zones, &self.node.geo).map_err(|errors| Refusal::from(&errors))?;
        if rule.has_ended(std::time::SystemTime::now()) {
            return Err(Refusal::new(400, "`expires_on` has been already").help("write a moment to come"));
        }
        Ok((rule, wishes, notes.into_iter().map(|note| note.message).collect()))
    }

    /// The keys of a rule as the file has them.
    fn written(&self, rule: &AccessRule, zones: &[Zone]) -> serde_json::Map<String, Value> {
        let object = self.object(rule, zones).and_then(|object| serde_json::to_value(object).ok());
        let mut written = match object {
            Some(Value::Object(object)) => object,
            _ => serde_json::Map::new(),
        };
        let zone = written.get("scope").and_then(|scope| scope.get("name").cloned());
        for key in ["scope", "allowed_modes", "created_on", "modified_on", "extensions"] {
            written.remove(key);
        }
        if let Some(zone) = zone {
            written.insert("zone".to_owned(), zone);
        }
        written
    }

    /// Refuses a block rule that ends the operator's own connection.
    fn refuse_cutting_off(&self, rule: &AccessRule, wishes: &Wishes, desired: &DesiredState) -> Result<(), Refusal> {
        if wishes.force || rule.mode != RuleMode::Block || rule.simulate {
            return Ok(());
        }
        let rules = self.table.borrow().rules().clone();
        let others = desired.rules.iter().filter(|other| other.id != rule.id);
        let after = rules.changed(std::iter::once(rule), &others.chain(std::iter::once(rule)));
        for address in wishes.operator.iter().map(IpAddr::to_canonical) {
            let class = || self.geo.table.class(address);
            let names = |access| matches!(access, Access::Blocked(id, _) if id == rule.id);
            let cut = desired.zones.iter().any(|zone| names(after.decide(zone.id, address, class)));
            if cut {
                let message = format!(
                    "block {} names {address}, where you are connected from: it would cut off your own connection",
                    rule.target
                );
                return Err(Refusal::new(409, message)
                    .help(format!("allow {address} first, leave it out of the prefix, or say --force")));
            }
        }
        Ok(())
    }

    fn found(&self, id: RuleId) -> Result<AccessRule, Refusal> {
        let desired = self.view.desired();
        desired.rules.iter().find(|rule| rule.id == id).cloned().ok_or_else(|| unknown(id))
    }

    /// A rule that was not written into the file.
    fn changeable(&self, id: RuleId) -> Result<AccessRule, Refusal> {
        let rule = self.found(id)?;
        if self.source(&rule) == RuleSource::File {
            let message = format!("the rule {} {} stands in the configuration file", rule.mode.as_str(), rule.target);
            return Err(Refusal::new(409, message).help("change it there, and reload"));
        }
        Ok(rule)
    }

    pub(super) fn source(&self, rule: &AccessRule) -> RuleSource {
        self.book.facts(rule.id).map_or(RuleSource::File, |facts| facts.source)
    }

    fn object(&self, rule: &AccessRule, zones: &[Zone]) -> Option<RuleObject> {
        Some(RuleObject::of(rule, self.book.facts(rule.id)?, zones))
    }

    fn answer_with(&self, rule: &AccessRule, messages: Vec<String>) -> RuleAnswer {
        let zones = &self.view.desired().zones;
        RuleAnswer { rules: self.object(rule, zones).into_iter().collect(), messages }
    }

    /// Keeps what operators made. A rule that cannot be kept is in force all the same: during an attack that counts.
    fn kept(&self, messages: &mut Vec<String>) {
        if let Err(error) = self.keep() {
            log::error!("{error}");
            messages.push(format!("in force, but gone with the next restart: {error}"));
        }
    }

    fn keep(&self) -> Result<(), rules::RuleStoreError> {
        let desired = self.view.desired();
        let made = desired.rules.iter().filter_map(|rule| {
            let facts = self.book.facts(rule.id).filter(|facts| facts.source == RuleSource::Operator)?;
            Some((rule, facts.created, facts.modified))
        });
        rules::write(&self.node.state_dir, made, &desired.zones)
    }
}

fn unknown(id: RuleId) -> Refusal {
    Refusal::new(404, format!("there is no rule {id}")).help("`spectrum rule list` shows the rules there are")
}
