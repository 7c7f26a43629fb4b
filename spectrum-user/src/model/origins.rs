//! Where an application's connections go: who the origins are, how they share the work, when one counts as dead.

use std::{fmt, time::Duration};

use super::{DirectOrigin, PortRange};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// At least one, each with as many ports as the application's protocol has.
    Direct(Vec<DirectOrigin>),
    Dns(DnsOrigin),
}

/// `origin_dns`, with the ports of `origin_port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOrigin {
    /// In lower case.
    pub name: String,
    pub records: DnsRecords,
    /// How long an answer may be used; records with a shorter life are asked for again earlier.
    pub ttl: Duration,
}

/// Which records are asked for, and whose ports are dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecords {
    /// As many ports as the application's protocol has.
    Addresses(AddressRecords, PortRange),
    /// The records say the port; the application has one.
    Srv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRecords {
    A,
    Aaaa,
    /// Both, raced against each other (RFC 8305).
    Both,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    #[default]
    RoundRobin,
    /// The one with the fewest open connections for its weight.
    LeastConnections,
    Random,
    /// One client always meets the same origin, as long as that one lives.
    SourceHash,
}

/// When an origin is dead, and when it lives again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// A handshake of TLS must succeed first, whoever the origin says it is.
    pub tls: bool,
    pub exchange: Option<Exchange>,
    /// None: the first port that is dialled.
    pub port: Option<u16>,
    pub interval: Duration,
    /// For the whole check.
    pub timeout: Duration,
    /// Checks that must succeed, one after the other, until a dead origin lives.
    pub rise: u32,
    /// Checks, or dials, that must fail one after the other until an origin is dead.
    pub fall: u32,
}

/// What an origin is asked, and what its answer must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Empty: it speaks first.
    pub send: Vec<u8>,
    pub expect: Vec<u8>,
}

/// How many connections an application takes at once; none: as many as the node has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub all: Option<u32>,
    /// Of one IPv4 address, or one IPv6 /64.
    pub per_client: Option<u32>,
}

impl Origins {
    /// Those that the file names by address.
    pub fn direct(&self) -> &[DirectOrigin] {
        match self {
            Self::Direct(origins) => origins,
            Self::Dns(_) => &[],
        }
    }
}

/// As people write it: `tcp://192.0.2.1:22`, `origin.example.com:22 (A)`.
impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(origins) => {
                for (index, origin) in origins.iter().enumerate() {
                    let separator = if index > 0 { " " } else { "" };
                    write!(f, "{separator}{origin}")?;
                }
                Ok(())
            }
            Self::Dns(origin) => match origin.records {
                DnsRecords::Addresses(records, ports) => write!(f, "{}:{ports} ({})", origin.name, records.as_str()),
                DnsRecords::Srv => write!(f, "{} (SRV)", origin.name),
            },
        }
    }
}

impl DnsRecords {
    /// The ports that are dialled; none where the records say them.
    pub const fn ports(self) -> Option<PortRange> {
        match self {
            Self::Addresses(_, ports) => Some(ports),
            Self::Srv => None,
        }
    }
}

impl AddressRecords {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Both => "A and AAAA",
        }
    }
}
