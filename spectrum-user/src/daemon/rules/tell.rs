//! A rule that came into force, or is no more: noted in the book, told as an event, shown by its counts.

use crate::{
    daemon::{Running, status::RuleCounts},
    model::AccessRule,
    rules::{Facts, RuleSource},
    telemetry::{NodeEvent, NodeEventKind},
};

impl Running {
    /// A rule is in force from now on.
    pub(in crate::daemon) fn learn(&mut self, rule: &AccessRule, facts: Facts) {
        self.left_out.retain(|left| !left.is(rule.id));
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
    pub(in crate::daemon) fn forget(&mut self, rule: &AccessRule, why: &str) {
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

    /// Shows how many rules there are, and which are not in force.
    pub(in crate::daemon) fn tell_rules(&self) {
        let [file, operator, auto] =
            [RuleSource::File, RuleSource::Operator, RuleSource::Auto].map(|source| self.book.count(source));
        let (rules, v4, v6) = self.kernel.fill();
        let left_out = self.left_out.iter().map(ToString::to_string).collect();
        self.view.held(RuleCounts { file, operator, auto, rules, v4, v6 }, left_out);
    }
}
