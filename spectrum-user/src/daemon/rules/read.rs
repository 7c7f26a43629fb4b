//! From a rule object to a rule, by the reader of the configuration file, and back.

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::Refusal;
use crate::{
    config,
    daemon::{Running, Wishes},
    model::{AccessRule, Zone},
};

impl Running {
    /// A request's rule, by the reader of the configuration file.
    pub(super) fn read(&self, value: Value) -> Result<(AccessRule, Wishes, Vec<String>), Refusal> {
        let Value::Object(mut object) = value else { return Err(Refusal::no_object()) };
        let wishes = match object.remove("extensions") {
            None => Wishes::default(),
            Some(wishes) => {
                serde_json::from_value(wishes).map_err(|error| Refusal::new(400, format!("`extensions`: {error}")))?
            }
        };
        object.retain(|_, value| !value.is_null());
        let text = toml::to_string(&object).map_err(|error| Refusal::new(400, error.to_string()))?;
        let zones = self.view.desired().zones.clone();
        let (rule, notes) =
            config::rule(&text, "the rule", &zones, &self.node.geo).map_err(|errors| Refusal::from(&errors))?;
        if rule.has_ended(SystemTime::now()) {
            return Err(Refusal::new(400, "`expires_on` has been already").help("write a moment to come"));
        }
        Ok((rule, wishes, notes.into_iter().map(|note| note.message).collect()))
    }

    /// The keys of a rule as the file has them.
    pub(super) fn written(&self, rule: &AccessRule, zones: &[Zone]) -> Map<String, Value> {
        let object = self.object(rule, zones).and_then(|object| serde_json::to_value(object).ok());
        let mut written = match object {
            Some(Value::Object(object)) => object,
            _ => Map::new(),
        };
        let zone = written.get("scope").and_then(|scope| scope.get("name").cloned());
        for key in ["scope", "allowed_modes", "created_on", "modified_on", "extensions"] {
            written.remove(key);
        }
        if let Some(zone) = zone {
            written.insert("zone".to_owned(), zone);
        }
        written
    }
}
