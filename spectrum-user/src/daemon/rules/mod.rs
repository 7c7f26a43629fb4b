//! Access rules that change while the daemon runs: by an operator, and by the clock.
//!
//! A rule is in the kernel before whoever asked for it gets an answer; then every worker has it, which ends the open
//! connections that it blocks; then it is kept.

mod call;
mod change;
mod lockout;
mod operator;
mod read;
mod refusal;
mod tell;

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

pub use self::{
    call::{RuleAnswer, RuleRequest},
    refusal::Refusal,
};
use super::{Running, calls::Call};
use crate::{
    dataplane::rules::RuleChange,
    model::{AccessRule, DesiredState, Node, Zone},
    rules::{self, Book, Facts, Kept, LeftOut, RuleObject, RuleSource},
};

/// Joins the file's rules with those that were kept.
pub fn with_kept_rules(desired: &mut DesiredState, node: &Node) -> anyhow::Result<(Book, Vec<LeftOut>)> {
    with_rules(desired, node, &[])
}

/// As [`with_kept_rules`], and with those that a predecessor made by itself.
pub(super) fn with_rules(
    desired: &mut DesiredState,
    node: &Node,
    auto: &[Kept],
) -> anyhow::Result<(Book, Vec<LeftOut>)> {
    let now = SystemTime::now();
    let loaded = rules::read(&node.state_dir, &desired.zones, &node.geo)?;
    for note in &loaded.notes {
        log::warn!("{note}");
    }
    let auto = auto.iter().map(|Kept { rule, created, modified }| {
        (rule, Facts::new(RuleSource::Auto, rule, now).made(*created, *modified))
    });
    let (book, gone) = Book::default().join(desired, kept(&loaded.rules, now).chain(auto), now);
    for note in gone {
        log::warn!("{note}");
    }
    Ok((book, loaded.left_out))
}

/// Rules that were read of what is kept, and what is known of them.
pub(super) fn kept(rules: &[Kept], now: SystemTime) -> impl Iterator<Item = (&AccessRule, Facts)> {
    rules.iter().map(move |Kept { rule, created, modified }| {
        (rule, Facts::new(RuleSource::Operator, rule, now).made(*created, *modified))
    })
}

/// How long the wall clock may go unseen while a rule is to end by it. It may be set, and it goes on while the host
/// sleeps; the clock that timers go by does neither (`CLOCK_MONOTONIC`, `man 2 clock_gettime`).
const LOOK: Duration = Duration::from_secs(1);

/// The next thing to do about rules: a request, or (None) rules that may have ended. These wait while a successor
/// changes the maps.
pub(super) async fn due(book: &Book, calls: &mut mpsc::Receiver<Call>, rules_end: bool) -> Option<Call> {
    let end = book.next_end().filter(|_| rules_end);
    let ends = async {
        match end {
            Some(end) => {
                let left = end.duration_since(SystemTime::now()).unwrap_or_default();
                tokio::time::sleep(left.min(LOOK)).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        Some(call) = calls.recv() => Some(call),
        () = ends => None,
    }
}

impl Running {
    /// Takes away the rules whose time is over.
    pub(super) async fn end_rules(&mut self) {
        let ended = self.book.ended(SystemTime::now());
        if ended.is_empty() {
            return;
        }
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

    pub(super) fn source(&self, rule: &AccessRule) -> RuleSource {
        self.book.facts(rule.id).map_or(RuleSource::File, |facts| facts.source)
    }

    fn object(&self, rule: &AccessRule, zones: &[Zone]) -> Option<RuleObject> {
        Some(RuleObject::of(rule, self.book.facts(rule.id)?, zones))
    }

    fn keep(&self) -> Result<(), rules::RuleStoreError> {
        let desired = self.view.desired();
        let made = desired.rules.iter().filter_map(|rule| {
            let facts = self.book.facts(rule.id).filter(|facts| facts.source == RuleSource::Operator)?;
            Some((rule, facts.created, facts.modified))
        });
        rules::write(&self.node.state_dir, made, &self.left_out, &desired.zones)
    }
}
