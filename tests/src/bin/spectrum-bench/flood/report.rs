//! What floods have shown, as Markdown and as JSON.

use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde_json::{Value, json};

use super::table::{Bound, Found, Part, Target};
use crate::report::{of, short, spread};

#[derive(Default)]
pub(crate) struct Floods {
    pub(super) parts: Vec<Part>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

impl Floods {
    pub(crate) fn markdown(&self) -> String {
        let mut out = "\n## Floods\n".to_owned();
        // Writing to a String cannot fail.
        let _ = write!(out, "{}", self.targets());
        for part in &self.parts {
            let disturbed = part.takes.iter().filter(|take| take.disturbed).count();
            let _ = write!(out, "\n### {}\n\n{}", part.title, part.note);
            let _ = write!(out, " {} takes, {disturbed} of them disturbed.\n\n{}\n", part.takes.len(), table(part));
        }
        if !self.failures.is_empty() {
            out.push_str("\n### Not measured\n\n");
            for failure in &self.failures {
                let _ = writeln!(out, "- {failure}");
            }
        }
        out
    }

    fn targets(&self) -> String {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(["what", "must be", "is", ""]);
        for target in self.parts.iter().flat_map(|part| &part.targets) {
            let met = match target.met() {
                Some(true) => "reached",
                Some(false) => "MISSED",
                None => "not measured",
            };
            table.add_row([target.what.clone(), bound(target), found(target), met.to_owned()]);
        }
        if table.is_empty() { String::new() } else { format!("\n{table}\n") }
    }

    pub(crate) fn json(&self) -> Value {
        let parts: Vec<Value> = self.parts.iter().map(part_json).collect();
        json!({ "parts": parts, "failures": self.failures })
    }
}

fn table(part: &Part) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([&[""], part.columns.as_slice()].concat());
    for contestant in part.contestants() {
        let figures = (0..part.columns.len()).map(|column| spread(&part.values(contestant, column)));
        table.add_row(std::iter::once(contestant.to_owned()).chain(figures));
    }
    table
}

fn bound(target: &Target) -> String {
    match target.bound {
        Bound::AtMost(bound) => format!("at most {}", short(bound)),
        Bound::AtLeast(bound) => format!("at least {}", short(bound)),
    }
}

fn found(target: &Target) -> String {
    match target.found {
        Found::Ratio(ratio) => of(ratio),
        Found::Value { median, worst } => format!("{} (worst {})", short(median), short(worst)),
        Found::Nothing => String::new(),
    }
}

fn part_json(part: &Part) -> Value {
    let takes: Vec<Value> = part
        .takes
        .iter()
        .map(|take| {
            let figures: serde_json::Map<String, Value> =
                part.columns.iter().zip(&take.values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            json!({
                "round": take.round,
                "contestant": take.contestant,
                "figures": figures,
                "disturbed": take.disturbed,
            })
        })
        .collect();
    let targets: Vec<Value> = part
        .targets
        .iter()
        .map(|target| {
            json!({
                "what": target.what, "must_be": bound(target), "is": found(target), "reached": target.met(),
            })
        })
        .collect();
    json!({ "name": part.name, "title": part.title, "takes": takes, "targets": targets })
}
