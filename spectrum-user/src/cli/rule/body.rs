//! What is asked of the daemon about a rule, as the object that it reads.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use clap::Args;
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::cli::{Force, duration, operator};

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// What happens to what it names.
    mode: Mode,
    /// An address, a prefix, AS and a number, or a country's two letters.
    target: String,
    #[command(flatten)]
    details: Details,
    /// For the applications of this zone alone.
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    #[command(flatten)]
    force: Force,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Update {
    /// Its id, or what it names.
    pub(super) rule: String,
    #[arg(long)]
    mode: Option<Mode>,
    #[command(flatten)]
    details: Details,
    /// Act, where it was only tried.
    #[arg(long, conflicts_with = "simulate")]
    enforce: bool,
    /// It no longer ends by itself.
    #[arg(long, conflicts_with_all = ["expires_in", "expires_on"])]
    forever: bool,
    #[command(flatten)]
    force: Force,
}

#[derive(Debug, Args)]
struct Details {
    /// What `why` and sampled drops say about it.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// It ends by itself after this time: 30m, 12h.
    #[arg(long, value_parser = duration, value_name = "DURATION", conflicts_with = "expires_on")]
    expires_in: Option<Duration>,
    /// It ends by itself at this moment: 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    expires_on: Option<String>,
    /// Only count what it would drop.
    #[arg(long)]
    simulate: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mode {
    Block,
    #[value(alias = "whitelist")]
    Allow,
}

impl Mode {
    /// The product's word.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "whitelist",
        }
    }
}

impl Create {
    pub(super) fn object(&self) -> Value {
        let (target, value) = target(&self.target);
        let mut object = json!({
            "mode": self.mode.as_str(),
            "configuration": { "target": target, "value": value },
            "extensions": wishes(&self.force),
        });
        self.details.write(&mut object);
        if let Some(zone) = &self.zone {
            set(&mut object, "zone", json!(zone));
        }
        object
    }
}

impl Update {
    pub(super) fn patch(&self) -> Value {
        let mut patch = json!({ "extensions": wishes(&self.force) });
        self.details.write(&mut patch);
        if let Some(mode) = self.mode {
            set(&mut patch, "mode", json!(mode.as_str()));
        }
        if self.enforce {
            set(&mut patch, "simulate", json!(false));
        }
        if self.forever {
            set(&mut patch, "expires_on", Value::Null);
        }
        patch
    }
}

impl Details {
    fn write(&self, object: &mut Value) {
        if let Some(notes) = &self.notes {
            set(object, "notes", json!(notes));
        }
        // The next whole second: nobody reads the others, and none is taken away.
        let after = |left: Duration| {
            let end = SystemTime::now().checked_add(left)?.checked_add(Duration::from_millis(999))?;
            Some(humantime::format_rfc3339_seconds(end).to_string())
        };
        if let Some(end) = self.expires_in.and_then(after).or_else(|| self.expires_on.clone()) {
            set(object, "expires_on", json!(end));
        }
        if self.simulate {
            set(object, "simulate", json!(true));
        }
    }
}

pub(super) fn wishes(force: &Force) -> Value {
    serde_json::to_value(operator::wishes(force.force)).unwrap_or_default()
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// What kind of target this is, as the product calls it; what is none of them, the daemon refuses with its reasons.
pub(super) fn target(text: &str) -> (&'static str, String) {
    if let Ok(address) = text.parse::<IpAddr>() {
        return (if address.is_ipv4() { "ip" } else { "ip6" }, address.to_string());
    }
    if let Ok(prefix) = text.parse::<IpNet>() {
        return ("ip_range", prefix.to_string());
    }
    let capital = text.to_ascii_uppercase();
    match capital.strip_prefix("AS") {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => ("asn", capital),
        _ if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => ("country", capital),
        _ if text.contains('/') => ("ip_range", text.to_owned()),
        _ => ("ip", text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_known_by_how_it_is_written() {
        for (text, kind, value) in [
            ("192.0.2.1", "ip", "192.0.2.1"),
            ("2001:DB8::1", "ip6", "2001:db8::1"),
            ("192.0.2.0/24", "ip_range", "192.0.2.0/24"),
            ("as64500", "asn", "AS64500"),
            ("de", "country", "DE"),
            ("T1", "country", "T1"),
            ("192.0.2.0/33", "ip_range", "192.0.2.0/33"),
            ("AS", "country", "AS"),
            ("192.0.2", "ip", "192.0.2"),
        ] {
            assert_eq!(target(text), (kind, value.to_owned()), "{text}");
        }
    }
}
