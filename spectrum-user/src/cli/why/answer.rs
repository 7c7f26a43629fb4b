//! What is answered, for programs and for people.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use crate::{
    cli::output,
    daemon::{AppStatus, RuleStatus},
    dataplane::events::Sample,
};

/// One packet's way.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) from: IpAddr,
    pub(super) to: SocketAddr,
    pub(super) transport: &'static str,
    /// The source's network and country, where the kernel has a table of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<Whereabouts>,
    /// `pass` or `drop`.
    pub(super) action: &'static str,
    pub(super) reason: &'static str,
    pub(super) explanation: &'static str,
    pub(super) application: Option<Object<AppStatus>>,
    pub(super) rule: Option<Object<RuleStatus>>,
    /// Whether a daemon is there to accept what passes.
    pub(super) served: bool,
    /// What each stage of the program says, as far as the packet gets.
    pub(super) stages: Vec<StageAnswer>,
    /// Of TCP: a segment that begins no connection, and what the protected mode would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) segment: Option<Segment>,
}

#[derive(Serialize)]
pub(super) struct StageAnswer {
    pub(super) stage: &'static str,
    /// `pass`, `drop`, `answer`, or `not reached`.
    pub(super) outcome: &'static str,
    pub(super) says: String,
}

/// Of a segment of no connection that this host knows; an open one's always get past the last stage.
#[derive(Serialize)]
pub(super) struct Segment {
    pub(super) now: Verdict,
    /// While a flood lasts.
    pub(super) protected: Verdict,
    /// What becomes of SYNs in the protected mode.
    pub(super) protected_syn: String,
}

#[derive(Serialize)]
pub(super) struct Verdict {
    pub(super) action: &'static str,
    pub(super) reason: &'static str,
    pub(super) explanation: &'static str,
}

impl Verdict {
    pub(super) fn of(sample: &Sample) -> Self {
        let reason = sample.reason;
        Self { action: reason.action().as_str(), reason: reason.as_str(), explanation: reason.explain() }
    }
}

#[derive(Clone, Serialize)]
pub(super) struct Whereabouts {
    pub(super) asn: u32,
    pub(super) country: String,
}

/// An object as the kernel knows it, with what the daemon adds.
#[derive(Serialize)]
pub(super) struct Object<T> {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) details: Option<T>,
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.asn {
            0 => write!(f, "no known network, country {}", self.country),
            asn => write!(f, "AS{asn}, country {}", self.country),
        }
    }
}

pub(super) fn show(answer: &Answer) {
    let Answer { from, to, transport, action, reason, segment, .. } = answer;
    let first = if segment.is_some() { "a SYN" } else { "a datagram" };
    output::line(&format!("{transport} from {from} to {to}: {action} ({reason})\n"));
    output::line(&format!("  {first}:\n"));
    for StageAnswer { stage, outcome, says } in &answer.stages {
        output::line(&format!("    {stage:<9} {outcome:<12} {}\n", output::printable(says)));
    }
    let Some(Segment { now, protected, protected_syn }) = segment else { return };
    output::line(
        "  a segment of a connection that this host does not know (those of open ones pass where a SYN does):\n",
    );
    for (when, verdict) in [("now", now), ("protected", protected)] {
        output::line(&format!("    {when:<9} {:<12} {} ({})\n", verdict.action, verdict.explanation, verdict.reason));
    }
    output::line(&format!("  in the protected mode a SYN {protected_syn}\n"));
}
