//! Walks the spanned tree of the file. Every getter reports what it cannot use, with its place, and the walk goes on:
//! that is why this is not serde, which stops at the first error.
//!
//! A key is known once it has been asked for; `Table::finish` refuses the others.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Fault, Place},
    findings::Findings,
    suggest, text,
};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A table of the file, and which of its keys have been asked for.
pub(super) struct Table<'t> {
    entries: &'t DeTable<'t>,
    /// The header, or the braces.
    place: Place,
    /// As messages call it: `[node]`, `an application`.
    name: &'static str,
    findings: &'t Findings<'t>,
    asked: Vec<&'static str>,
}

/// Words and what they mean.
pub(super) type Choices<'c, T> = &'c [(&'c str, T)];

impl<'t> Table<'t> {
    pub(super) fn root(entries: &'t DeTable<'t>, findings: &'t Findings<'t>) -> Self {
        Self::named(entries, "the file", findings)
    }

    /// A whole text that is one table.
    pub(super) fn named(entries: &'t DeTable<'t>, name: &'static str, findings: &'t Findings<'t>) -> Self {
        Self { entries, place: Place::default(), name, findings, asked: Vec::new() }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn findings(&self) -> &'t Findings<'t> {
        self.findings
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn finish(self) {
        self.finish_with(|_| None);
    }

    /// As `finish`; `elsewhere` says where a key belongs that is known in another table.
    pub(super) fn finish_with(self, elsewhere: impl Fn(&str) -> Option<String>) {
        for key in self.entries.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref().as_ref();
            if self.findings.is_full() {
                // A suggestion takes time, and a file may hold millions of keys.
                self.findings.count_only();
                continue;
            }
            let help = elsewhere(word).unwrap_or_else(|| suggest::help(word, &self.asked));
            let place = Place { span: key.span(), key: self.path(word) };
            self.findings.error(&place, Fault::new(format!("unknown key `{word}` in {}", self.name)).help(help));
        }
    }

    pub(super) fn missing(&self, key: &str, example: &str) {
        let place = Place { span: self.place.span.clone(), key: self.path(key) };
        let fault =
            Fault::new(format!("missing key `{key}` in {}", self.name)).help(format!("write {key} = {example}"));
        self.findings.error(&place, fault);
    }

    /// Reads a key that must be there.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.asked.push(key);
            self.missing(key, example);
            return None;
        }
        read(self, key)
    }

    /// A value of whatever kind.
    pub(super) fn any(&mut self, key: &'static str) -> Option<(Place, &'t DeValue<'t>)> {
        self.take(key)
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<Found<&'t str>> {
        let (place, value) = self.take(key)?;
        self.expect_string(place, value)
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<Found<bool>> {
        let (place, value) = self.take(key)?;
        let DeValue::Boolean(value) = value else {
            let help = match value {
                DeValue::String(word) if word == "true" || word == "false" => format!("write {key} = {word}"),
                _ => format!("write {key} = true or {key} = false"),
            };
            self.findings
                .error(&place, Fault::new(format!("`{key}` is true or false, not {}", kind(value))).help(help));
            return None;
        };
        Some(Found { value: *value, place })
    }

    pub(super) fn integer(&mut self, key: &'static str, within: &Range<u64>) -> Option<Found<u64>> {
        let (place, value) = self.take(key)?;
        let number = match value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        if let Some(value) = number.filter(|number| within.contains(number)) {
            return Some(Found { value, place });
        }
        let last = within.end.saturating_sub(1);
        let fault = Fault::new(format!("`{key}` is a whole number from {} to {last}", within.start));
        self.findings.error(&place, fault.help(format!("write {key} = {}", within.start)));
        None
    }

    /// As [`Self::integer`], of numbers that fit.
    pub(super) fn whole(&mut self, key: &'static str, within: Range<u32>) -> Option<u32> {
        self.integer(key, &(within.start.into()..within.end.into())).and_then(|found| u32::try_from(found.value).ok())
    }

    /// `500ms`, `5s`, `2m`: see [`text::duration`].
    pub(super) fn duration(&mut self, key: &'static str, longest: Duration) -> Option<Duration> {
        self.parsed(key, |value| text::duration(value, longest)).map(|found| found.value)
    }

    /// A moment, as RFC 3339 writes it in UTC: a string, or a date of TOML.
    pub(super) fn instant(&mut self, key: &'static str) -> Option<Found<SystemTime>> {
        let (place, value) = self.take(key)?;
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            other => {
                let fault = Fault::new(format!("`{key}` is a moment, not {}", kind(other)));
                self.findings.error(&place, fault.help(format!("write {key} = \"2030-01-31T12:00:00Z\"")));
                return None;
            }
        };
        let parsed = humantime::parse_rfc3339(&text).map_err(|_| {
            Fault::new(format!("`{text}` is not a moment in UTC"))
                .help(format!("write the date, T, the time and Z: {key} = \"2030-01-31T12:00:00Z\""))
        });
        self.settle(place, parsed)
    }

    /// A string that means something.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<Found<T>> {
        let Found { value, place } = self.string(key)?;
        self.settle(place, parse(value))
    }

    /// One word out of a few.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: Choices<'_, T>) -> Option<Found<T>> {
        let Found { value: word, place } = self.string(key)?;
        if let Some((_, value)) = choices.iter().find(|(known, _)| *known == word) {
            return Some(Found { value: *value, place });
        }
        let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
        let fault = Fault::new(format!("`{word}` is not a value of `{key}`"));
        self.findings.error(&place, fault.help(suggest::help(word, &known)));
        None
    }

    /// A list of strings that mean something. None where the key is absent or no list; items that are refused are
    /// reported and left out. `empty`: what an empty list is refused with.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        empty: Option<Fault>,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Found<Vec<Found<T>>>> {
        let (place, value) = self.take(key)?;
        let DeValue::Array(items) = value else {
            let help = match value {
                DeValue::String(word) => format!("write {key} = [\"{word}\"]"),
                _ => format!("write {key} = [\"…\"]"),
            };
            self.findings.error(&place, Fault::new(format!("`{key}` is a list, not {}", kind(value))).help(help));
            return None;
        };
        if let Some(fault) = empty.filter(|_| items.is_empty()) {
            self.findings.error(&place, fault);
        }
        if items.len() > LONGEST_LIST {
            let fault = Fault::new(format!("`{key}` has {} items, more than {LONGEST_LIST}", items.len()));
            self.findings.error(&place, fault.help("write fewer, or prefixes and ranges in place of them"));
            return None;
        }
        let read = |(index, item): (usize, &'t Spanned<DeValue<'t>>)| {
            let place = Place { span: item.span(), key: format!("{}[{index}]", place.key) };
            let Found { value, place } = self.expect_string(place, item.get_ref())?;
            self.settle(place, parse(value))
        };
        let value = items.iter().enumerate().filter_map(read).collect();
        Some(Found { value, place })
    }

    pub(super) fn table(&mut self, key: &'static str, name: &'static str) -> Option<Self> {
        let (place, value) = self.take(key)?;
        self.expect_table(place, value, name)
    }

    /// An array of tables: `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str, name: &'static str) -> Vec<Self> {
        let Some((place, value)) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            let fault = Fault::new(format!("`{key}` is a list of tables, not {}", kind(value)));
            self.findings.error(&place, fault.help(format!("write [[{key}]] above each of them")));
            return Vec::new();
        };
        let read = |(index, item): (usize, &'t Spanned<DeValue<'t>>)| {
            let place = Place { span: item.span(), key: format!("{}[{index}]", place.key) };
            self.expect_table(place, item.get_ref(), name)
        };
        items.iter().enumerate().filter_map(read).collect()
    }

    /// A key that the product has and this program does not have yet.
    pub(super) fn later(&mut self, key: &'static str, advice: &str) {
        self.asked.push(key);
        if let Some((name, _)) = self.entries.get_key_value(key) {
            let place = Place { span: name.span(), key: self.path(key) };
            self.findings.error(&place, Fault::later(&format!("`{key}`"), advice));
        }
    }

    /// A choice of which only the default is built.
    pub(super) fn only(&mut self, key: &'static str, default: &str, later: &[&str], advice: &str) {
        let choices: Vec<_> = std::iter::once((default, true)).chain(later.iter().map(|word| (*word, false))).collect();
        if let Some(Found { value: false, place }) = self.choice(key, &choices) {
            let word = self.entries.get(key).and_then(|value| value.get_ref().as_str()).unwrap_or_default();
            self.findings.error(&place, Fault::later(&format!("{key} = \"{word}\""), advice));
        }
    }

    /// Where a value of this table stands, whatever it is.
    pub(super) fn value(&self, key: &str) -> Option<(Place, &'t DeValue<'t>)> {
        let value = self.entries.get(key)?;
        Some((Place { span: value.span(), key: self.path(key) }, value.get_ref()))
    }

    fn take(&mut self, key: &'static str) -> Option<(Place, &'t DeValue<'t>)> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.value(key)
    }

    fn settle<T>(&self, place: Place, result: Result<T, Fault>) -> Option<Found<T>> {
        match result {
            Ok(value) => Some(Found { value, place }),
            Err(fault) => {
                self.findings.error(&place, fault);
                None
            }
        }
    }

    fn expect_string(&self, place: Place, value: &'t DeValue<'t>) -> Option<Found<&'t str>> {
        if let DeValue::String(value) = value {
            return Some(Found { value, place });
        }
        let key = last(&place.key);
        self.findings
            .error(&place, Fault::new(format!("`{key}` is a string, not {}", kind(value))).help("put it in quotes"));
        None
    }

    fn expect_table(&self, place: Place, value: &'t DeValue<'t>, name: &'static str) -> Option<Self> {
        if let DeValue::Table(entries) = value {
            return Some(Self { entries, place, name, findings: self.findings, asked: Vec::new() });
        }
        let key = last(&place.key);
        let help = format!("write [{key}], or {key} = {{ … }}");
        self.findings.error(&place, Fault::new(format!("`{key}` is a table, not {}", kind(value))).help(help));
        None
    }

    fn path(&self, key: &str) -> String {
        if self.place.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.key) }
    }
}

/// The last part of a key path.
fn last(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, last)| last)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Lists are compared item by item.
const LONGEST_LIST: usize = 4096;
