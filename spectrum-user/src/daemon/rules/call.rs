//! What is said about rules on the control socket: a request, its answer, and the queue to the daemon's loop.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::Refusal;
use crate::{model::RuleId, rules::RuleObject};

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
    Delete(RuleId),
}

/// How a change is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wishes {
    /// Do it even where it cuts off who asks for it.
    pub force: bool,
    /// Where the operator is connected from.
    pub operator: Vec<IpAddr>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleAnswer {
    pub rules: Vec<RuleObject>,
    /// What an operator should know.
    pub messages: Vec<String>,
}

/// One request and where its answer goes.
pub struct RuleCall {
    pub request: RuleRequest,
    pub answer: oneshot::Sender<Result<RuleAnswer, Refusal>>,
}

/// Requests that wait. Whoever comes beyond waits too.
const QUEUE: usize = 64;

pub(in crate::daemon) fn calls() -> (mpsc::Sender<RuleCall>, mpsc::Receiver<RuleCall>) {
    mpsc::channel(QUEUE)
}
