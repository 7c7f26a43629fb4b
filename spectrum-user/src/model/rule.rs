//! IP access rules.

use ipnet::IpNet;

use super::{RuleId, ZoneId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    pub id: RuleId,
    pub scope: Scope,
    pub mode: RuleMode,
    /// Host bits are zero. A single address is a prefix of full length.
    pub prefix: IpNet,
    pub notes: String,
}

/// Which applications a rule speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Those of every zone.
    User,
    /// Those of one zone.
    Zone(ZoneId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleMode {
    /// Beats every block, across targets and scopes.
    Allow,
    Block,
    /// The product's challenges: kept, never matched (there is no page to show to a TCP client).
    Challenge,
}
