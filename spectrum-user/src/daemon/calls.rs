//! What the command line asks of the daemon's loop: one after the other, each with an answer.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use tokio::sync::{mpsc, oneshot};

use super::{
    reload::Reloaded,
    rules::{Refusal, RuleAnswer, RuleRequest},
    upgrade::{UpgradeRequest, Upgraded},
};

/// One request and where its answer goes.
#[derive(Debug)]
pub struct Asked<Q, A> {
    pub request: Q,
    pub answer: oneshot::Sender<Result<A, Refusal>>,
}

#[derive(Debug)]
pub enum Call {
    Rule(Asked<RuleRequest, RuleAnswer>),
    /// Apply the edited file.
    Reload(Asked<Wishes, Reloaded>),
    /// Let another program take over.
    Upgrade(Asked<UpgradeRequest, Upgraded>),
}

/// How a change is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wishes {
    /// Do it even where it cuts off who asks for it.
    pub force: bool,
    /// Where the operator is connected from.
    #[serde(deserialize_with = "few")]
    pub operator: Vec<IpAddr>,
}

/// More than one person is connected from: each is asked of every zone's rules.
const MOST_OPERATORS: usize = 128;

fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    let addresses = Vec::deserialize(deserializer)?;
    if addresses.len() > MOST_OPERATORS {
        let message = format!("`operator` has {} addresses: {MOST_OPERATORS} are the most", addresses.len());
        return Err(D::Error::custom(message));
    }
    Ok(addresses)
}

/// Requests that wait. Whoever comes beyond waits too.
const QUEUE: usize = 64;

pub(super) fn calls() -> (mpsc::Sender<Call>, mpsc::Receiver<Call>) {
    mpsc::channel(QUEUE)
}
