//! A rule with the keys that it has in the configuration file: one reader reads it wherever it stands.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Kept,
    object::{Configuration, mode, moment},
};
use crate::{
    config,
    model::{AccessRule, Geo, Scope, Zone},
};

/// The keys of a rule, as the file has them.
pub fn keys(rule: &AccessRule, zones: &[Zone]) -> Map<String, Value> {
    let moment = SystemTime::UNIX_EPOCH;
    Written::of(rule, moment, moment, zones).keys()
}

/// Those keys, and two moments.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) id: String,
    pub(super) mode: String,
    pub(super) configuration: Configuration,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    notes: String,
    /// The zone's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_on: Option<String>,
    #[serde(default)]
    simulate: bool,
    created_on: String,
    modified_on: String,
}

impl Written {
    pub(super) fn of(rule: &AccessRule, created: SystemTime, modified: SystemTime, zones: &[Zone]) -> Self {
        let zone = match rule.scope {
            Scope::User => None,
            Scope::Zone(id) => zones.iter().find(|zone| zone.id == id).map(|zone| zone.name.clone()),
        };
        Self {
            id: rule.id.to_string(),
            mode: mode(rule.mode).to_owned(),
            configuration: Configuration::of(rule.target),
            notes: rule.notes.clone(),
            zone,
            expires_on: rule.expires_on.map(|end| humantime::format_rfc3339(end).to_string()),
            simulate: rule.simulate,
            created_on: moment(created),
            modified_on: moment(modified),
        }
    }

    /// `name` is what messages call the text that it stands in.
    pub(super) fn read(self, name: &str, zones: &[Zone], geo: &Geo) -> Result<Kept, String> {
        let time = |text: &str| humantime::parse_rfc3339(text).map_err(|error| format!("{text}: {error}"));
        let (created, modified) = (time(&self.created_on)?, time(&self.modified_on)?);
        let text = toml::to_string(&self.keys()).map_err(|error| error.to_string())?;
        let (rule, _) = config::rule(&text, name, zones, geo).map_err(|errors| errors.brief())?;
        Ok(Kept { rule, created, modified })
    }

    fn keys(&self) -> Map<String, Value> {
        // Nothing in it can fail to be JSON.
        let Ok(Value::Object(mut keys)) = serde_json::to_value(self) else { return Map::new() };
        keys.retain(|key, _| !matches!(key.as_str(), "created_on" | "modified_on"));
        keys
    }
}
