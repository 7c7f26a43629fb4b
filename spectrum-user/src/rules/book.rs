//! What is known of each rule beside what it says: who made it, and when it ends.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::SystemTime,
};

use crate::model::{AccessRule, DesiredState, RuleId, Scope, Target};

/// Who made a rule, and so who may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSource {
    /// It stands in the configuration file.
    File,
    /// An operator, while the daemon ran: kept over restarts.
    Operator,
    /// The daemon itself, against a source that does too much: gone with the daemon.
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub source: RuleSource,
    pub created: SystemTime,
    pub modified: SystemTime,
    /// When it ends: by the clock on the wall, which is the one that the rule names.
    end: Option<SystemTime>,
}

/// The facts of all rules.
#[derive(Clone, Debug, Default)]
pub struct Book {
    facts: HashMap<RuleId, Facts>,
    counts: [usize; 3],
    ends: BTreeSet<(SystemTime, RuleId)>,
}

impl RuleSource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Operator => "operator",
            Self::Auto => "auto",
        }
    }
}

impl Facts {
    /// Of a rule that comes now.
    pub const fn new(source: RuleSource, rule: &AccessRule, now: SystemTime) -> Self {
        Self { source, created: now, modified: now, end: rule.expires_on }
    }

    /// Of one that was made before.
    #[must_use]
    pub const fn made(self, created: SystemTime, modified: SystemTime) -> Self {
        Self { created, modified, ..self }
    }
}

impl Book {
    pub fn facts(&self, id: RuleId) -> Option<Facts> {
        self.facts.get(&id).copied()
    }

    pub fn count(&self, source: RuleSource) -> usize {
        self.counts.get(source as usize).copied().unwrap_or_default()
    }

    pub fn insert(&mut self, id: RuleId, facts: Facts) {
        self.remove(id);
        if let Some(end) = facts.end {
            self.ends.insert((end, id));
        }
        if let Some(count) = self.counts.get_mut(facts.source as usize) {
            *count += 1;
        }
        self.facts.insert(id, facts);
    }

    pub fn remove(&mut self, id: RuleId) -> Option<Facts> {
        let facts = self.facts.remove(&id)?;
        if let Some(count) = self.counts.get_mut(facts.source as usize) {
            *count -= 1;
        }
        if let Some(end) = facts.end {
            self.ends.remove(&(end, id));
        }
        Some(facts)
    }

    /// When the next rule ends.
    pub fn next_end(&self) -> Option<SystemTime> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// The rules whose time is over.
    pub fn ended(&self, now: SystemTime) -> HashSet<RuleId> {
        self.ends.iter().take_while(|(end, _)| *end <= now).map(|(_, id)| *id).collect()
    }

    /// Joins the rules of a file that was just read, which are those of `desired`, with the ones that were made while
    /// the daemon ran. Says which of the latter are no more, and why.
    pub fn join<'a>(
        &self,
        desired: &mut DesiredState,
        made: impl Iterator<Item = (&'a AccessRule, Facts)>,
        now: SystemTime,
    ) -> (Self, Vec<String>) {
        let mut joined = Self::default();
        let mut taken: HashSet<(Scope, Target)> = HashSet::with_capacity(desired.rules.len());
        for rule in &desired.rules {
            taken.insert((rule.scope, rule.target));
            joined.insert(rule.id, Facts::new(RuleSource::File, rule, now));
        }
        let mut gone = Vec::new();
        for (rule, facts) in made.filter(|(_, facts)| facts.source != RuleSource::File) {
            let zone_is_gone = match rule.scope {
                Scope::User => false,
                Scope::Zone(zone) => !desired.zones.iter().any(|known| known.id == zone),
            };
            let name = format!("the {} rule {} {}", facts.source.as_str(), rule.mode.as_str(), rule.target);
            if zone_is_gone {
                gone.push(format!("{name} is no more: its zone is not configured any more"));
            } else if joined.facts.contains_key(&rule.id) || !taken.insert((rule.scope, rule.target)) {
                gone.push(format!("{name} is no more: the file has a rule for it now"));
            } else {
                joined.insert(rule.id, facts);
                desired.rules.push(rule.clone());
            }
        }
        (joined, gone)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{RuleMode, Zone, ZoneId};

    fn rule(prefix: &str, expires_on: Option<SystemTime>) -> AccessRule {
        AccessRule {
            id: RuleId::derive(&[prefix]),
            scope: Scope::User,
            mode: RuleMode::Block,
            target: Target::Prefix(prefix.parse().unwrap()),
            notes: String::new(),
            simulate: false,
            expires_on,
        }
    }

    #[test]
    fn a_rule_ends_when_the_clock_says_so_wherever_it_comes_from() {
        let now = SystemTime::now();
        let hour = Duration::from_hours(1);
        let (short, long) = (rule("192.0.2.1/32", Some(now + hour)), rule("192.0.2.2/32", Some(now + 2 * hour)));
        let mut book = Book::default();
        for rule in [&long, &short, &rule("192.0.2.3/32", None)] {
            book.insert(rule.id, Facts::new(RuleSource::Operator, rule, now));
        }
        assert_eq!(book.next_end(), Some(now + hour));
        assert_eq!(book.ended(now + Duration::from_millis(3_599_999)), HashSet::new());
        assert_eq!(book.ended(now - 1000 * hour), HashSet::new(), "the clock was set back");
        assert_eq!(book.ended(now + hour), [short.id].into());
        book.remove(short.id);
        assert_eq!(book.ended(now + 3 * hour), [long.id].into(), "the clock was set forward");
        book.remove(long.id);
        assert_eq!(book.next_end(), None);
    }

    #[test]
    fn an_end_that_has_been_is_due_at_once() {
        let now = SystemTime::now();
        let mut book = Book::default();
        let past = rule("192.0.2.1/32", Some(now - Duration::from_secs(1)));
        book.insert(past.id, Facts::new(RuleSource::File, &past, now));
        assert_eq!(book.ended(now), [past.id].into());
    }

    #[test]
    fn rules_made_at_runtime_outlive_a_reload_unless_the_file_speaks_of_the_same() {
        let now = SystemTime::now();
        let zone = Zone { id: ZoneId::derive(&["a"]), name: "a".to_owned() };
        let (kept, taken) = (rule("192.0.2.1/32", None), rule("192.0.2.2/32", None));
        let orphan = AccessRule { scope: Scope::Zone(zone.id), ..rule("192.0.2.3/32", None) };
        let written = AccessRule { id: RuleId::derive(&["given"]), ..taken.clone() };
        let mut desired = DesiredState { rules: vec![written.clone()], ..DesiredState::default() };
        let facts = |rule: &AccessRule| Facts::new(RuleSource::Operator, rule, now);
        let made = [&kept, &taken, &orphan];
        let made = made.into_iter().map(|rule| (rule, facts(rule)));
        let (book, gone) = Book::default().join(&mut desired, made, now);
        assert_eq!(desired.rules, [written.clone(), kept.clone()]);
        assert_eq!(book.facts(written.id).unwrap().source, RuleSource::File);
        assert_eq!(book.facts(kept.id).unwrap().source, RuleSource::Operator);
        assert_eq!((book.facts(taken.id), book.facts(orphan.id)), (None, None));
        assert!(gone[0].contains("the file has a rule") && gone[1].contains("zone"), "{gone:?}");
    }
}
