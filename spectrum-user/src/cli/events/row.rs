//! An event in one line for people.

use std::fmt::Write as _;

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    cli::output::printable,
    daemon::HANDED_OVER,
    shield::{Likeness, describe_portrait},
};

/// Whether the line says what the reader was too slow for.
pub(super) fn is_missed(event: &Value) -> bool {
    text(event, "Event") == "missed"
}

pub(super) fn missed(event: &Value) -> String {
    let [events, samples] = ["events", "samples"].map(|key| number(event, "extensions", key));
    format!("too slow: {events} events and {samples} samples are left out here")
}

/// Whether the line says who goes on.
pub(super) fn is_handed_over(event: &Value) -> bool {
    text(event, "Event") == HANDED_OVER
}

pub(super) fn handed_over(event: &Value) -> String {
    let pid = number(event, "extensions", "pid");
    format!("process {pid} has taken over, what follows is its own; the process before drains unseen")
}

pub(super) fn row(event: &Value) -> String {
    let kind = text(event, "Event");
    let says = match kind {
        "drop" | "pass" | "answer" => sample(event),
        "connect" | "disconnect" | "clientFiltered" | "originError" => connection(event),
        _ => node(event),
    };
    printable(&format!("{} {kind:<15} {says}", when(event)))
}

/// `SOURCE -> EDGE reason[: rule "notes"][; HOSTNAME]`.
fn sample(event: &Value) -> String {
    let mut says = format!("{} {}", from_to(event), extension(event, "reason"));
    let flags = extension(event, "tcp_flags");
    // Writing into a string cannot fail.
    if !flags.is_empty() {
        let _ = write!(says, " ({flags})");
    }
    let rule =
        |key: &str| event.pointer(&format!("/extensions/rule/{key}")).and_then(Value::as_str).unwrap_or_default();
    if !rule("id").is_empty() {
        let _ = write!(says, ": {} {} of scope {}", rule("mode"), rule("target"), rule("scope"));
        if !rule("notes").is_empty() {
            let _ = write!(says, " \"{}\"", rule("notes"));
        }
        let _ = write!(says, " (rule {})", rule("id"));
    }
    says += &of_application(event);
    let stands_for = number(event, "extensions", "drops").max(number(event, "extensions", "weight"));
    if stands_for > 1 {
        let _ = write!(says, "; one of {stands_for}");
    }
    says
}

fn connection(event: &Value) -> String {
    let origin = match text(event, "OriginIP") {
        "" => String::new(),
        address => format!(", origin {}", joined(address, event.get("OriginPort"))),
    };
    let status = event.get("Status").and_then(Value::as_u64).unwrap_or_default();
    let bytes =
        match (event.get("ClientBytes").and_then(Value::as_u64), event.get("OriginBytes").and_then(Value::as_u64)) {
            (Some(client), Some(origin)) if text(event, "Event") == "disconnect" => {
                format!(", {client} bytes from the client, {origin} from the origin")
            }
            _ => String::new(),
        };
    format!("{} {} {status}{origin}{bytes}{}", from_to(event), extension(event, "reason"), of_application(event))
}

/// Everything that it says of itself, name by name.
fn node(event: &Value) -> String {
    let fields = event.get("extensions").and_then(Value::as_object);
    let fields = fields.into_iter().flatten().map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        value => match portrait(name, value) {
            Some(portrait) => format!("{name} {}", describe_portrait(&portrait)),
            None => format!("{name} {value}"),
        },
    });
    fields.collect::<Vec<_>>().join(", ")
}

/// What packets look like, where that is it.
fn portrait(name: &str, value: &Value) -> Option<Vec<Likeness>> {
    let portrait: Vec<Likeness> = serde_json::from_value((name == "portrait").then(|| value.clone())?).ok()?;
    (!portrait.is_empty()).then_some(portrait)
}

fn of_application(event: &Value) -> String {
    match extension(event, "hostname") {
        "" => String::new(),
        hostname => format!("; {hostname}"),
    }
}

fn from_to(event: &Value) -> String {
    let from = joined(text(event, "ClientIP"), event.get("ClientPort")) + &whereabouts(event);
    let to = joined(extension(event, "edge_ip"), event.pointer("/extensions/edge_port"));
    format!("{from} -> {to}")
}

/// Network and country, as far as they are known.
fn whereabouts(event: &Value) -> String {
    let asn = event.get("ClientAsn").and_then(Value::as_u64).filter(|asn| *asn != 0);
    let country = Some(text(event, "ClientCountry")).filter(|code| !matches!(*code, "" | "XX"));
    let known: Vec<String> = asn.map(|asn| format!("AS{asn}")).into_iter().chain(country.map(str::to_owned)).collect();
    if known.is_empty() { String::new() } else { format!(" ({})", known.join(" ")) }
}

fn joined(address: &str, port: Option<&Value>) -> String {
    let port = port.and_then(Value::as_u64).unwrap_or_default();
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// To the millisecond, in UTC.
fn when(event: &Value) -> String {
    let Ok(at) = OffsetDateTime::parse(text(event, "Timestamp"), &Rfc3339) else { return "?".to_owned() };
    let (hour, minute, second, millisecond) = at.to_offset(time::UtcOffset::UTC).to_hms_milli();
    format!("{} {hour:02}:{minute:02}:{second:02}.{millisecond:03}", at.date())
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn extension<'a>(event: &'a Value, key: &str) -> &'a str {
    event.get("extensions").map(|more| text(more, key)).unwrap_or_default()
}

fn number(event: &Value, part: &str, key: &str) -> u64 {
    event.get(part).and_then(|part| part.get(key)).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_drop_is_told_with_its_rule_and_never_moves_the_cursor() {
        let event = json!({
            "Application": "a1", "ClientIP": "2001:db8::66", "ClientPort": 40000, "Event": "drop",
            "ClientAsn": 64501, "ClientCountry": "FR",
            "Timestamp": "2026-11-22T10:00:00.123456789Z",
            "extensions": {
                "hostname": "one.example.com", "edge_ip": "2001:db8:51::10", "edge_port": 443, "reason": "blocked",
                "tcp_flags": "SYN", "drops": 12, "weight": 0,
                "rule": { "id": "r4", "mode": "block", "target": "2001:db8::/32", "scope": "user", "notes": "a\u{1b}[2Jb" },
            },
        });
        assert_eq!(
            row(&event),
            "2026-11-22 10:00:00.123 drop            [2001:db8::66]:40000 (AS64501 FR) -> [2001:db8:51::10]:443 blocked (SYN): block \
             2001:db8::/32 of scope user \"a\u{fffd}[2Jb\" (rule r4); one.example.com; one of 12"
        );
    }

    #[test]
    fn what_the_node_did_is_told_with_all_it_says() {
        let event = json!({
            "Event": "protectionBegan", "Timestamp": "2026-11-22T10:00:00Z",
            "extensions": { "always": false, "floods": ["one.example.com tcp/443"] },
        });
        assert_eq!(
            row(&event),
            "2026-11-22 10:00:00.000 protectionBegan always false, floods [\"one.example.com tcp/443\"]"
        );
    }

    #[test]
    fn what_a_flood_looks_like_is_told_in_words() {
        let common = json!([{ "field": "ttl", "value": 64, "percent": 100 }, { "field": "source_port", "value": 53, "percent": 40 }]);
        let portrait = json!([{ "percent": 98, "protocol": 6, "tcp_flags": "SYN", "common": common }]);
        let event = json!({
            "Event": "floodBegan", "Timestamp": "2026-11-22T10:00:00Z",
            "extensions": { "kind": "syn", "portrait": portrait },
        });
        let row = row(&event);
        assert!(row.ends_with("kind syn, portrait 98 % SYN: ttl 64, from port 53 (40 %)"), "{row}");
    }
}
