//! How the shield acts on this node.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shield {
    /// `net.ipv4.tcp_timestamps` may be 2 while protected, so that connections which begin with a cookie keep window
    /// scaling and SACK.
    pub timestamps: bool,
    pub auto: AutoSettings,
}

/// Rules that the daemon makes by itself, against sources that do too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoSettings {
    pub rules: AutoRules,
    /// Accepted connections a second of one source that are too many.
    pub connections: u32,
    /// Packets a second of one source that are too many.
    pub packets: u32,
    /// How long a rule lasts at most.
    pub duration: Duration,
    /// Rules at once.
    pub most: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoRules {
    Off,
    /// Counted and told, and nothing is done.
    #[default]
    Simulate,
    /// Those whose evidence cannot be forged act.
    Enforce,
}

impl AutoRules {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Simulate => "simulate",
            Self::Enforce => "enforce",
        }
    }
}

impl Default for AutoSettings {
    fn default() -> Self {
        Self {
            rules: AutoRules::default(),
            connections: 100,
            packets: 20_000,
            duration: Duration::from_mins(10),
            most: 64,
        }
    }
}

impl Default for Shield {
    fn default() -> Self {
        Self { timestamps: true, auto: AutoSettings::default() }
    }
}
