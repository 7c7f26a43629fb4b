//! From a rule object to a rule, by the reader of the configuration file.

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::Refusal;
use crate::{
    config,
    daemon::{Running, Wishes},
    model::AccessRule,
};

impl Running {
    /// A request's rule, how it is asked for, and what an operator should know of it.
    pub(super) fn read(&self, value: Value) -> Result<(AccessRule, Wishes, Vec<String>), Refusal> {
        let Value::Object(mut object) = value else { return Err(Refusal::no_object()) };
        let wishes = match object.remove("extensions") {
            None => Wishes::default(),
            Some(wishes) => {
                serde_json::from_value(wishes).map_err(|error| Refusal::new(400, format!("`extensions`: {error}")))?
            }
        };
        without_null(&mut object);
        let unreadable = |error| Refusal::new(400, format!("the body cannot be read as a rule object: {error}"));
        let text = toml::to_string(&object).map_err(unreadable)?;
        let zones = self.view.desired().zones.clone();
        let (rule, notes) =
            config::rule(&text, "the rule", &zones, &self.node.geo).map_err(|errors| Refusal::from(&errors))?;
        if rule.has_ended(SystemTime::now()) {
            return Err(Refusal::new(400, "`expires_on` has been already").help("write a moment to come"));
        }
        Ok((rule, wishes, notes.into_iter().map(|note| note.message).collect()))
    }
}

/// A key that is null is one that is not there.
fn without_null(object: &mut Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    // As deep as rule objects are; serde_json reads no deeper than 128.
    object.values_mut().filter_map(Value::as_object_mut).for_each(without_null);
}
