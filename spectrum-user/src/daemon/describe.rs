//! A sample in one line for people: for the program's log and the quickstart.

use std::fmt::Write as _;

use super::{objects::Objects, sample_event::ends};
use crate::dataplane::events::Sample;

pub(super) fn describe(sample: &Sample, objects: &Objects) -> String {
    let app = sample.app.and_then(|number| objects.app(number));
    let rule = sample.rule.and_then(|number| objects.rule(number));
    let (from, to) = ends(sample);
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
