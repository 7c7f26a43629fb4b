//! How results and refusals are written.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use comfy_table::{Cell, Table, presets};
use serde::Serialize;

use crate::{config::ConfigErrors, daemon::Refusal, state::StateError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Writes data as JSON. A reader that has gone away is no error of ours.
pub(super) fn json(data: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(data)?;
    text.push('\n');
    line(&text);
    Ok(())
}

/// Writes text as it is.
pub(super) fn line(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// The text with nothing in it that could move a terminal's cursor or change its colours.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A table without lines, for people and for `awk`.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(Cell::new));
    table
}

pub(super) fn show(table: &Table) {
    let text: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    line(&format!("{}\n", text.join("\n")));
}

/// What the daemon did. None: it refused, and that is told here.
pub(super) fn accepted<T>(answer: Result<T, Refusal>) -> Option<T> {
    let refusal = match answer {
        Ok(done) => return Some(done),
        Err(refusal) => refusal,
    };
    let stderr = &mut std::io::stderr().lock();
    if let Some(report) = &refusal.report {
        let _ = writeln!(stderr, "{report}");
    }
    let code = refusal.code.map(|code| format!("[{code}]")).unwrap_or_default();
    let _ = writeln!(stderr, "error{code}: {}", refusal.message);
    if let Some(help) = &refusal.help {
        let _ = writeln!(stderr, "  = help: {help}");
    }
    None
}

/// Tells why a command did not do what it was asked to.
pub(super) fn refused(error: &anyhow::Error) -> ExitCode {
    let stderr = &mut std::io::stderr().lock();
    if let Some(errors) = config_errors(error) {
        let _ = write!(stderr, "{errors}");
    } else {
        let label = if stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            "\x1b[1;31merror\x1b[0m"
        } else {
            "error"
        };
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        let _ = writeln!(stderr, "{label}: {}", join(&causes));
    }
    ExitCode::FAILURE
}

/// The errors of a file, however they were wrapped.
pub(super) fn config_errors(error: &anyhow::Error) -> Option<&ConfigErrors> {
    error.chain().find_map(|cause| match cause.downcast_ref::<StateError>() {
        Some(StateError::Config(errors)) => Some(errors),
        _ => cause.downcast_ref(),
    })
}

/// A chain of causes; a transparent error repeats its source.
fn join(causes: &[String]) -> String {
    let mut text = String::new();
    for cause in causes {
        if text.ends_with(cause.as_str()) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(cause);
    }
    text
}
