//! What is said about rules on the control socket: a request and its answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{daemon::Wishes, model::RuleId, rules::RuleObject};

/// What an operator wants of the rules.
#[derive(Debug)]
pub enum RuleRequest {
    /// All of them, or those that name this: the `value` of their configuration.
    List(Option<String>),
    Get(RuleId),
    /// The product's rule object, with `extensions`: [`Wishes`].
    Create(Value),
    /// Keys of it that change.
    Update(RuleId, Value),
    Delete(RuleId, Wishes),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleAnswer {
    pub rules: Vec<RuleObject>,
    /// What an operator should know.
    pub messages: Vec<String>,
}
