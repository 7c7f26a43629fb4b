//! What operators ask of the rules while the daemon runs.

use std::time::SystemTime;

use serde_json::Value;

use super::{Refusal, RuleAnswer, RuleRequest};
use crate::{
    daemon::{Running, Wishes, calls::Asked},
    dataplane::rules::RuleChange,
    model::{AccessRule, RuleId},
    rules::{self, Configuration, Facts, RuleSource},
};

impl Running {
    /// Does what is asked, and tells.
    pub(in crate::daemon) async fn answer(&mut self, asked: Asked<RuleRequest, RuleAnswer>) {
        let Asked { request, answer } = asked;
        let result = match request {
            RuleRequest::List(value) => Ok(self.list(value.as_deref())),
            RuleRequest::Get(id) => self.found(id).map(|rule| self.answer_with(&rule, Vec::new())),
            RuleRequest::Create(value) => Box::pin(self.create(value)).await,
            RuleRequest::Update(id, value) => Box::pin(self.update(id, value)).await,
            RuleRequest::Delete(id, wishes) => Box::pin(self.delete(id, &wishes)).await,
        };
        // Whoever asked may have gone.
        let _ = answer.send(result);
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
        let change = RuleChange { removed: &removed, added: std::slice::from_ref(&rule) };
        self.refuse_cutting_off(change, &wishes, &desired)?;
        if !desired.applications.iter().any(|app| app.ip_firewall) {
            messages.push("no application has ip_firewall = true: no rule is asked".to_owned());
        }
        drop(desired);
        let facts = Facts::new(RuleSource::Operator, &rule, SystemTime::now());
        self.change(change).await?;
        for gone in &removed {
            self.forget(gone, "an operator's rule takes its place");
        }
        self.learn(&rule, facts);
        log::info!("an operator's rule: {} {} (rule {})", rule.mode.as_str(), rule.target, rule.id);
        self.keep_or_tell(&mut messages);
        Ok(self.answer_with(&rule, messages))
    }

    async fn update(&mut self, id: RuleId, value: Value) -> Result<RuleAnswer, Refusal> {
        let before = self.changeable(id)?;
        let facts = self.book.facts(id).ok_or_else(|| Refusal::unknown(id))?;
        let mut merged = rules::keys(&before, &self.view.desired().zones);
        let Value::Object(changes) = value else { return Err(Refusal::no_object()) };
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
        let change = RuleChange { removed: std::slice::from_ref(&before), added: std::slice::from_ref(&rule) };
        self.refuse_cutting_off(change, &wishes, &self.view.desired())?;
        let now = SystemTime::now();
        // Who changes a rule of the daemon's makes it its own.
        let facts = Facts::new(RuleSource::Operator, &rule, now).made(facts.created, now);
        self.change(change).await?;
        self.forget(&before, "an operator changed it");
        self.learn(&rule, facts);
        log::info!("an operator changed a rule: {} {} (rule {id})", rule.mode.as_str(), rule.target);
        self.keep_or_tell(&mut messages);
        Ok(self.answer_with(&rule, messages))
    }

    async fn delete(&mut self, id: RuleId, wishes: &Wishes) -> Result<RuleAnswer, Refusal> {
        if let Some(place) = self.left_out.iter().position(|left| left.is(id)) {
            let mut messages = vec![format!("no longer kept: {}", self.left_out.remove(place))];
            self.tell_rules();
            self.keep_or_tell(&mut messages);
            return Ok(RuleAnswer { rules: Vec::new(), messages });
        }
        let rule = self.changeable(id)?;
        let change = RuleChange { removed: std::slice::from_ref(&rule), added: &[] };
        self.refuse_cutting_off(change, wishes, &self.view.desired())?;
        let mut answer = self.answer_with(&rule, Vec::new());
        self.change(change).await?;
        if self.source(&rule) == RuleSource::Auto {
            self.auto.taken_away(&rule);
        }
        self.forget(&rule, "an operator took it away");
        log::info!("an operator removed a rule: {} {} (rule {id})", rule.mode.as_str(), rule.target);
        self.keep_or_tell(&mut answer.messages);
        Ok(answer)
    }

    fn found(&self, id: RuleId) -> Result<AccessRule, Refusal> {
        let desired = self.view.desired();
        desired.rules.iter().find(|rule| rule.id == id).cloned().ok_or_else(|| Refusal::unknown(id))
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

    fn answer_with(&self, rule: &AccessRule, messages: Vec<String>) -> RuleAnswer {
        let zones = &self.view.desired().zones;
        RuleAnswer { rules: self.object(rule, zones).into_iter().collect(), messages }
    }

    /// Keeps what operators made. A rule that cannot be kept is in force all the same: during an attack that counts.
    fn keep_or_tell(&self, messages: &mut Vec<String>) {
        if let Err(error) = self.keep() {
            log::error!("{error}");
            messages.push(format!("in force, but gone with the next restart: {error}"));
        }
    }
}
