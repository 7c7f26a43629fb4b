//! The file as a whole: what is accepted, what is refused, and how a refusal reads.

mod accepted;
mod acme;
mod names;
mod origins;
mod properties;
mod refused;
mod rendered;
mod together;

use super::*;

/// Enough of a file for what is tested to be the only thing wrong with it.
const NODE: &str = "[node]\ninterfaces = [\"eth0\"]\n";

fn good(text: &str) -> Config {
    parse(text, "spectrum.toml").unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn bad(text: &str) -> ConfigErrors {
    parse(text, "spectrum.toml").err().unwrap_or_else(|| panic!("accepted:\n{text}"))
}
