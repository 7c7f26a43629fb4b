//! `[[access_rules]]`: the product's IP access rule object.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::SystemTime,
};

use ipnet::IpNet;
use spectrum_common::limits;
use toml::de::DeTable;

use super::{
    diagnostic::{ConfigErrors, Diagnostic, Fault, Place, Severity},
    edge,
    findings::Findings,
    reader::{Found, Table},
    source::Source,
    target, text,
    zone::{self, Zones},
};
use crate::model::{self, AccessRule, Geo, RuleId, RuleMode, Scope, Zone};

/// What the product calls a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Ip,
    Ip6,
    IpRange,
    Asn,
    Country,
}

/// Characters: every rule is held in memory, and written with all others when one changes.
const LONGEST_NOTES: usize = 1000;

pub(super) fn read(root: &mut Table<'_>, zones: &Zones, geo: &Geo) -> Vec<AccessRule> {
    let tables = root.tables("access_rules", "an access rule");
    let count = tables.len();
    let mut rules = Vec::with_capacity(count);
    // What makes a rule unique, as the id that it has or would have; and the ids that were given.
    let mut first: HashMap<RuleId, Place> = HashMap::with_capacity(count);
    let mut ids: HashSet<RuleId> = HashSet::with_capacity(count);
    for (index, table) in tables.into_iter().enumerate() {
        let header = table.place().clone();
        if index == limits::RULES {
            let fault = Fault::new(format!("{count} access rules, and room for {}", limits::RULES));
            root.findings().error(&header, fault.help("join neighbouring addresses into an ip_range"));
        }
        let Some((rule, unique, place)) = read_one(table, zones, geo) else { continue };
        if let Some(other) = first.get(&unique) {
            let line = root.findings().line(other);
            let fault = Fault::new(format!("the access rule of line {line} has the same target, value and scope"));
            root.findings().error(&place, fault.code(10009).help("remove one of the two"));
            continue;
        }
        if !ids.insert(rule.id) {
            let fault = Fault::new(format!("the id {} is that of another access rule", rule.id));
            root.findings().error(&header, fault.help("give each its own `id`, or none"));
            continue;
        }
        first.insert(unique, place);
        rules.push(rule);
    }
    rules
}

/// One rule by itself, as it is written outside of the file: `text` is TOML, with the keys that it has in the file.
pub fn alone(text: &str, name: &str, zones: &[Zone], geo: &Geo) -> Result<(AccessRule, Vec<Diagnostic>), ConfigErrors> {
    let source = Source::new(name, text);
    let tree = DeTable::parse(text).map_err(|error| {
        let place = Place { span: error.span().unwrap_or_default(), key: String::new() };
        let fault = Fault::new(format!("not TOML: {}", error.message()));
        ConfigErrors::of(Diagnostic::new(&source, &place, Severity::Error, fault))
    })?;
    let findings = Findings::new(&source);
    let table = Table::named(tree.get_ref(), "an access rule", &findings);
    let read = read_one(table, &Zones::from(zones), geo);
    let notes = findings.finish()?;
    match read {
        Some((rule, ..)) => Ok((rule, notes)),
        // What could not be read was reported.
        None => Err(ConfigErrors::of(Diagnostic::of_file(name, Fault::new("this is no access rule")))),
    }
}

fn read_one(mut table: Table<'_>, zones: &Zones, geo: &Geo) -> Option<(AccessRule, RuleId, Place)> {
    let id = table.parsed("id", zone::id);
    let mode = table.require("mode", "\"block\" or \"whitelist\"", read_mode);
    let matched = table
        .require("configuration", "{ target = \"ip\", value = \"192.0.2.1\" }", |table, key| {
            table.table(key, "configuration")
        })
        .and_then(|table| read_configuration(table, geo));
    let notes = read_notes(&mut table);
    let scope = match table.string("zone") {
        None => Some(Scope::User),
        Some(Found { value, place }) => match zones.named(value) {
            Ok(zone) => Some(Scope::Zone(zone.id)),
            Err(fault) => {
                if let Some(fault) = fault {
                    table.findings().error(&place, fault);
                }
                None
            }
        },
    };
    let expires_on = read_expiry(&mut table);
    let simulate = read_simulate(&mut table, mode.as_ref().map(|found| found.value));
    table.finish();
    let ((kind, Found { value: target, place }), scope) = (matched?, scope?);
    let unique = derive(scope, kind, target);
    let id = id.map_or(unique, |found| found.value);
    Some((AccessRule { id, scope, mode: mode?.value, target, notes, simulate, expires_on }, unique, place))
}

fn read_notes(table: &mut Table<'_>) -> String {
    let Some(Found { value, place }) = table.string("notes") else { return String::new() };
    let length = value.chars().count();
    if length > LONGEST_NOTES {
        let fault = Fault::new(format!("notes of {length} characters: {LONGEST_NOTES} are the most"));
        table.findings().error(&place, fault.help("write where to read more"));
    }
    value.to_owned()
}

/// When the rule ends by itself. One that has ended already is told, not refused: time passes over files too.
fn read_expiry(table: &mut Table<'_>) -> Option<SystemTime> {
    let Found { value, place } = table.instant("expires_on")?;
    if value <= SystemTime::now() {
        table.findings().note(&place, Fault::new("this rule has ended, and does nothing").help("remove it"));
    }
    Some(value)
}

fn read_simulate(table: &mut Table<'_>, mode: Option<RuleMode>) -> bool {
    let Some(Found { value: true, place }) = table.boolean("simulate") else { return false };
    if mode == Some(RuleMode::Allow) {
        let fault = Fault::new("an allow rule cannot be tried: what it would let through is not known to be dropped");
        table
            .findings()
            .error(&place, fault.help("remove `simulate`, or try the block rule that it is an exception of"));
    }
    true
}

fn read_mode(table: &mut Table<'_>, key: &'static str) -> Option<Found<RuleMode>> {
    if let Some((place, value)) = table.value(key)
        && value.as_str() == Some("allow")
    {
        table.string(key);
        let fault = Fault::new("`allow` is not a value of `mode`");
        table.findings().error(&place, fault.help("write \"whitelist\", which is what the product's API calls it"));
        return None;
    }
    table.choice(
        key,
        &[
            ("block", RuleMode::Block),
            ("whitelist", RuleMode::Allow),
            ("challenge", RuleMode::Challenge),
            ("js_challenge", RuleMode::Challenge),
            ("managed_challenge", RuleMode::Challenge),
        ],
    )
}

fn read_configuration(mut table: Table<'_>, geo: &Geo) -> Option<(Target, Found<model::Target>)> {
    let target = table.require("target", "\"ip\", \"ip6\", \"ip_range\", \"asn\" or \"country\"", |table, key| {
        table.choice(
            key,
            &[
                ("ip", Target::Ip),
                ("ip6", Target::Ip6),
                ("ip_range", Target::IpRange),
                ("asn", Target::Asn),
                ("country", Target::Country),
            ],
        )
    });
    let value = table.require("value", "\"192.0.2.1\"", |table, key| match target.as_ref().map(|found| found.value) {
        Some(target @ (Target::Ip | Target::Ip6)) => {
            table.parsed(key, |value| single(value, target).map(model::Target::Prefix))
        }
        Some(Target::IpRange) => {
            let written = table.parsed(key, edge::prefix)?;
            let prefix = written.value.trunc();
            if prefix != written.value {
                let fault = Fault::new(format!("{} is taken as {prefix}", written.value));
                table.findings().note(&written.place, fault.help(format!("write {prefix}")));
            }
            Some(Found { value: model::Target::Prefix(prefix), place: written.place })
        }
        Some(Target::Asn) => target::asn(table, key, geo),
        Some(Target::Country) => target::country(table, key, geo),
        // Reported already.
        None => {
            table.string(key);
            None
        }
    });
    table.finish();
    let target = match (target?.value, value.as_ref()?.value) {
        // `ip` may hold an IPv6 address too (the product's parameters page): the same rule as `ip6`.
        (Target::Ip, model::Target::Prefix(IpNet::V6(_))) => Target::Ip6,
        (target, _) => target,
    };
    Some((target, value?))
}

fn single(value: &str, target: Target) -> Result<IpNet, Fault> {
    if value.contains('/')
        && let Ok(prefix) = value.parse::<IpNet>()
    {
        return Err(Fault::new(format!("`{prefix}` is a range")).help("write target = \"ip_range\""));
    }
    match text::address(value)? {
        address @ IpAddr::V4(_) if target == Target::Ip6 => {
            Err(Fault::new(format!("{address} is an IPv4 address")).help("write target = \"ip\""))
        }
        address => Ok(IpNet::from(address)),
    }
}

/// A rule is known by what makes it unique: scope, target and value.
fn derive(scope: Scope, kind: Target, target: model::Target) -> RuleId {
    let scope = match scope {
        Scope::User => "user".to_owned(),
        Scope::Zone(zone) => zone.to_string(),
    };
    let kind = match kind {
        Target::Ip => "ip",
        Target::Ip6 => "ip6",
        Target::IpRange => "ip_range",
        Target::Asn => "asn",
        Target::Country => "country",
    };
    let value = match target {
        model::Target::Prefix(prefix) if kind != "ip_range" => prefix.addr().to_string(),
        target => target.to_string(),
    };
    RuleId::derive(&[&scope, kind, &value])
}
