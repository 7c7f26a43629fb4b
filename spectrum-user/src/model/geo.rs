//! Where a node learns which network and country an address belongs to.

use std::path::PathBuf;

use super::Target;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geo {
    /// A database of countries.
    pub country: Option<PathBuf>,
    /// A database of autonomous systems.
    pub asn: Option<PathBuf>,
    pub memory: GeoMemory,
}

/// What the kernel's table may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GeoMemory {
    /// As little as it can.
    #[default]
    Compact,
    /// 64 MiB more, for faster lookups of IPv4.
    Full,
}

impl Geo {
    pub const fn is_empty(&self) -> bool {
        self.country.is_none() && self.asn.is_none()
    }

    /// Whether there is what it takes to tell who is meant.
    pub const fn knows(&self, target: Target) -> bool {
        match target {
            Target::Prefix(_) => true,
            Target::Asn(_) => self.asn.is_some(),
            Target::Country(_) => self.country.is_some(),
        }
    }
}

impl GeoMemory {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Full => "full",
        }
    }
}
