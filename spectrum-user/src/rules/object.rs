//! The product's rule object: what commands and the API show, and what is kept.

use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Facts;
use crate::model::{AccessRule, RuleMode, Scope, Target, Zone};

/// An access rule as the product writes it. `expires_on` and `simulate` are this project's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleObject {
    pub id: String,
    pub mode: String,
    pub configuration: Configuration,
    pub notes: String,
    pub scope: RuleScope,
    pub allowed_modes: Vec<String>,
    pub created_on: String,
    pub modified_on: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<String>,
    #[serde(default)]
    pub simulate: bool,
    pub extensions: Extensions,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    pub target: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleScope {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `user` or `zone`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    /// `file`, `operator` or `auto`.
    pub source: String,
}

const MODES: [&str; 5] = ["whitelist", "block", "challenge", "js_challenge", "managed_challenge"];

impl RuleObject {
    pub fn of(rule: &AccessRule, facts: Facts, zones: &[Zone]) -> Self {
        let scope = match rule.scope {
            Scope::User => RuleScope { id: None, kind: "user".to_owned(), name: None },
            Scope::Zone(id) => RuleScope {
                id: Some(id.to_string()),
                kind: "zone".to_owned(),
                name: zones.iter().find(|zone| zone.id == id).map(|zone| zone.name.clone()),
            },
        };
        Self {
            id: rule.id.to_string(),
            mode: mode(rule.mode).to_owned(),
            configuration: Configuration::of(rule.target),
            notes: rule.notes.clone(),
            scope,
            allowed_modes: MODES.map(str::to_owned).to_vec(),
            created_on: moment(facts.created),
            modified_on: moment(facts.modified),
            expires_on: rule.expires_on.map(|end| humantime::format_rfc3339(end).to_string()),
            simulate: rule.simulate,
            extensions: Extensions { source: facts.source.as_str().to_owned() },
        }
    }
}

impl Configuration {
    pub fn of(target: Target) -> Self {
        let word = match target {
            Target::Prefix(IpNet::V4(net)) if net.prefix_len() == 32 => "ip",
            Target::Prefix(IpNet::V6(net)) if net.prefix_len() == 128 => "ip6",
            Target::Prefix(_) => "ip_range",
            Target::Asn(_) => "asn",
            Target::Country(_) => "country",
        };
        let value = match target {
            Target::Prefix(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
            other => other.to_string(),
        };
        Self { target: word.to_owned(), value }
    }
}

pub(super) fn mode(mode: RuleMode) -> &'static str {
    match mode {
        RuleMode::Allow => "whitelist",
        RuleMode::Block => "block",
        RuleMode::Challenge => "challenge",
    }
}

pub(super) fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
