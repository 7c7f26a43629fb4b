//! What is wrong with a configuration, for people (as rustc writes it) and for programs (as values).

use std::{fmt, ops::Range};

use serde::Serialize;

use super::source::{Excerpt, Source, visible};

/// Everything that is wrong with a configuration: at least one error, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct ConfigErrors {
    found: Vec<Diagnostic>,
    /// How many more there are.
    #[serde(skip)]
    more: usize,
}

/// One finding: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// The file, as it was named by the caller.
    pub file: String,
    /// From 1; none where the file as a whole is meant.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// `applications[0].dns.name`; empty where there is none.
    pub key: String,
    /// The product's error code, where it has one.
    pub code: Option<u16>,
    pub message: String,
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    /// Worth knowing; nothing is refused.
    Note,
}

/// A finding that does not know its place yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    code: Option<u16>,
    message: String,
    help: Option<String>,
}

/// The bytes a finding is about, and the key they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) span: Range<usize>,
    pub(crate) key: String,
}

impl ConfigErrors {
    /// The first of them in one line.
    pub fn brief(&self) -> String {
        self.found.first().map(|found| line(&found.message)).unwrap_or_default()
    }

    /// None where there is nothing to report.
    pub(crate) fn new(mut found: Vec<Diagnostic>, more: usize) -> Option<Self> {
        found.sort_by_key(|found| (found.line, found.column));
        (!found.is_empty()).then_some(Self { found, more })
    }

    pub(crate) fn of(found: Diagnostic) -> Self {
        Self { found: vec![found], more: 0 }
    }

    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.found
    }
}

impl Diagnostic {
    pub(crate) fn new(source: &Source, place: &Place, severity: Severity, fault: Fault) -> Self {
        let excerpt = source.excerpt(&place.span);
        Self {
            severity,
            file: source.name().to_owned(),
            line: Some(excerpt.line),
            column: Some(excerpt.column),
            key: place.key.clone(),
            code: fault.code,
            message: fault.message,
            help: fault.help,
            excerpt: Some(excerpt),
        }
    }

    /// Something worth knowing about a file as a whole.
    pub fn note(file: &str, message: String, help: String) -> Self {
        Self { severity: Severity::Note, ..Self::of_file(file, Fault::new(message).help(help)) }
    }

    /// About a file as a whole.
    pub(super) fn of_file(name: &str, fault: Fault) -> Self {
        Self {
            severity: Severity::Error,
            file: name.to_owned(),
            line: None,
            column: None,
            key: String::new(),
            code: fault.code,
            message: fault.message,
            help: fault.help,
            excerpt: None,
        }
    }
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The product's code for this.
    pub(crate) fn code(self, code: u16) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Something that the product has and this program does not have yet.
    pub(super) fn later(what: &str, advice: &str) -> Self {
        Self::new(format!("{what} is not built yet")).help(advice)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.found {
            writeln!(f, "{found}\n")?;
        }
        let file = self.found.first().map_or("", |found| &found.file);
        match (self.found.len(), self.more) {
            (1, 0) => write!(f, "{file}: 1 error"),
            (several, 0) => write!(f, "{file}: {several} errors"),
            (shown, more) => write!(f, "{file}: {} errors, the first {shown} of them above", shown + more),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Error => "error",
            Severity::Note => "note",
        })?;
        if let Some(code) = self.code {
            write!(f, "[{code}]")?;
        }
        write!(f, ": {}", line(&self.message))?;
        let Some(at) = &self.excerpt else {
            write!(f, "\n  --> {}", self.file)?;
            return self.help.iter().try_for_each(|help| write!(f, "\n  = help: {}", line(help)));
        };
        let number = at.line.to_string();
        let gutter = " ".repeat(number.len());
        write!(f, "\n{gutter}--> {}:{}:{}", self.file, at.line, at.column)?;
        write!(f, "\n{gutter} |\n{number} | {}", at.text)?;
        write!(f, "\n{gutter} | {}{}", " ".repeat(at.indent), "^".repeat(at.width))?;
        self.help.iter().try_for_each(|help| write!(f, "\n{gutter} = help: {}", line(help)))
    }
}

/// Messages quote the file: what would move a terminal's cursor is not passed on.
fn line(text: &str) -> String {
    text.chars().map(visible).collect()
}
