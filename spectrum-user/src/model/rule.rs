//! IP access rules.

use std::{fmt, time::SystemTime};

use ipnet::IpNet;

use super::{RuleId, ZoneId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    pub id: RuleId,
    pub scope: Scope,
    pub mode: RuleMode,
    pub target: Target,
    pub notes: String,
    /// It is counted and told, and nothing is done about it.
    pub simulate: bool,
    /// When it ends by itself.
    pub expires_on: Option<SystemTime>,
}

/// Whom a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Host bits are zero. A single address is a prefix of full length.
    Prefix(IpNet),
    /// Every address that an autonomous system announces.
    Asn(u32),
    /// Every address that is registered in a country.
    Country(Country),
}

/// A country by its ISO 3166-1 alpha-2 code, in capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

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

impl AccessRule {
    /// Whether it speaks of the applications of a zone at all.
    pub fn speaks_in(&self, zone: ZoneId) -> bool {
        self.mode != RuleMode::Challenge && (self.scope == Scope::User || self.scope == Scope::Zone(zone))
    }

    /// Whether its time is over.
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.expires_on.is_some_and(|end| end <= now)
    }
}

impl RuleMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
            Self::Challenge => "challenge",
        }
    }
}

impl Target {
    /// The prefix, where it is one.
    pub const fn prefix(self) -> Option<IpNet> {
        match self {
            Self::Prefix(prefix) => Some(prefix),
            Self::Asn(_) | Self::Country(_) => None,
        }
    }
}

impl Country {
    /// None: not two letters.
    pub fn new(code: &str) -> Option<Self> {
        let code: [u8; 2] = code.as_bytes().try_into().ok()?;
        let letters = code.map(|letter| letter.to_ascii_uppercase());
        // `T1` is what the product calls the Tor network.
        let is_code = letters.iter().all(u8::is_ascii_uppercase) || letters == *b"T1";
        is_code.then_some(Self(letters))
    }

    /// Back from what `spectrum_common::geo::country` makes of it.
    pub fn of(number: u32) -> Option<Self> {
        let [.., first, second] = number.to_be_bytes();
        Self::new(std::str::from_utf8(&[first, second]).ok()?)
    }

    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Asn(number) => write!(f, "AS{number}"),
            Self::Country(country) => country.fmt(f),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or("??"))
    }
}
