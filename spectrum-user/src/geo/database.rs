//! One database: opened, then walked from its first network to its last.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};

use super::{
    Loaded,
    file::{self, Identity},
    record::Record,
    steps::{Address, Disordered, Steps},
};

/// What a database is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Country,
    Asn,
}

impl Kind {
    /// Its key in `[geo]`.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Asn => "asn",
        }
    }
}

/// Why a file is not a database that can be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    #[error("is not a file")]
    NoFile,
    #[error("has {bytes} bytes, more than the {most} that a database may have")]
    TooLarge { bytes: u64, most: u64 },
    #[error("changed while it was read: put new databases in place by renaming them, and try again")]
    Changed,
    #[error("is not a whole database in MaxMind's format")]
    Format(#[source] MaxMindDbError),
    #[error("its networks are not in the order of a tree: it is damaged")]
    Disordered,
    #[error("has more than {most} networks: it is damaged, or of another kind")]
    TooMany { most: usize },
    #[error("takes longer than {} s to read: it is damaged, or of another kind", most.as_secs())]
    Slow { most: Duration },
    #[error("its table would take more than {} MB of memory", most >> 20)]
    TooWide { most: usize },
    #[error(
        "says {} of no network (it is a {database_type}): name a database of that kind",
        match kind { Kind::Country => "the country", Kind::Asn => "the autonomous system" }
    )]
    Nothing { kind: Kind, database_type: String },
}

/// What one database says about every address.
#[derive(Default)]
pub(super) struct Networks {
    pub(super) v4: Steps<u32>,
    pub(super) v6: Steps<u32>,
    /// Those that say something.
    pub(super) count: usize,
}

pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    identity: Identity,
    kind: Kind,
    built: SystemTime,
}

/// A few times what the largest databases have. Their neighbours of one country become one, which is the second limit.
const MOST_NETWORKS: usize = 32 << 20;
/// A tree of so many nodes has one network more than that, unless its branches meet again. Some share a few of them.
const MOST_NETWORKS_PER_NODE: usize = 16;
const MOST_STEPS: usize = 4 << 20;
/// The largest take a few seconds.
const LONGEST: Duration = Duration::from_mins(1);
const TELL_EVERY: Duration = Duration::from_secs(2);

impl Database {
    pub(super) fn open(path: &Path, kind: Kind) -> Result<Self, DatabaseError> {
        let (bytes, identity) = file::read(path)?;
        let reader = Reader::from_source(bytes).map_err(DatabaseError::Format)?;
        let built = reader.metadata().build_time().map_err(DatabaseError::Format)?;
        // A year that no calendar has is not a day that anything was built on.
        let built = if time::OffsetDateTime::UNIX_EPOCH
            .checked_add(time::Duration::seconds(i64::try_from(reader.metadata().build_epoch).unwrap_or(i64::MAX)))
            .is_some()
        {
            built
        } else {
            SystemTime::UNIX_EPOCH
        };
        Ok(Self { reader, identity, kind, built })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// For people: without what a terminal would act on, and not long.
    pub(super) fn database_type(&self) -> String {
        let shown = |c: &char| !c.is_control();
        self.reader.metadata().database_type.chars().filter(shown).take(64).collect()
    }

    pub(super) fn built(&self) -> SystemTime {
        self.built
    }

    pub(super) fn loaded(&self, networks: usize) -> Loaded {
        Loaded {
            kind: self.kind,
            identity: self.identity.clone(),
            database_type: self.database_type(),
            built: self.built,
            loaded: SystemTime::now(),
            networks,
        }
    }

    /// Without the other ways to IPv4 that a tree may have. Those are told by where they lead to: where all of IPv4 is one
    /// record, every network with that record would be taken for one.
    fn options(&self) -> Result<WithinOptions, DatabaseError> {
        let first = self.reader.lookup(Ipv4Addr::UNSPECIFIED.into()).and_then(|found| found.network());
        let one_record = first.map_err(DatabaseError::Format).map(|first| first.is_ipv6() || first.prefix() == 0)?;
        let options = WithinOptions::default();
        Ok(if one_record { options.include_aliased_networks() } else { options })
    }

    /// Every network of both families.
    pub(super) fn networks(&self, tell: &dyn Fn(&str)) -> Result<Networks, DatabaseError> {
        let mut walk = Walk::new(self, tell);
        let v4 = walk.family(Family::V4)?;
        let v6 = if self.reader.metadata().ip_version == 6 { walk.family(Family::V6)? } else { Steps::default() };
        if walk.count == 0 {
            return Err(DatabaseError::Nothing { kind: self.kind, database_type: self.database_type() });
        }
        Ok(Networks { v4, v6, count: walk.count })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

struct Walk<'a> {
    database: &'a Database,
    tell: &'a dyn Fn(&str),
    /// Networks share records: each is decoded once.
    values: HashMap<usize, u32>,
    seen: usize,
    most: usize,
    count: usize,
    began: Instant,
    told: Instant,
}

impl<'a> Walk<'a> {
    fn new(database: &'a Database, tell: &'a dyn Fn(&str)) -> Self {
        let now = Instant::now();
        let nodes = database.reader.metadata().node_count as usize;
        let most = MOST_NETWORKS.min((nodes + 1).saturating_mul(MOST_NETWORKS_PER_NODE));
        Self { database, tell, values: HashMap::new(), seen: 0, most, count: 0, began: now, told: now }
    }

    fn family(&mut self, family: Family) -> Result<Steps<u32>, DatabaseError> {
        let all = match family {
            Family::V4 => "0.0.0.0/0",
            Family::V6 => "::/0",
        };
        let all = all.parse().map_err(|error| DatabaseError::Format(MaxMindDbError::InvalidNetwork(error)))?;
        let networks = self.database.reader.within(all, self.database.options()?).map_err(DatabaseError::Format)?;
        let mut steps = Steps::default();
        for network in networks {
            let network = network.map_err(DatabaseError::Format)?;
            self.pace()?;
            let Some((first, bits)) = place(&network, family).map_err(DatabaseError::Format)? else { continue };
            let value = self.value(&network)?;
            if value != 0 {
                self.count += 1;
                steps.push(first, bits, value).map_err(|Disordered| DatabaseError::Disordered)?;
            }
            if steps.len() > MOST_STEPS {
                return Err(DatabaseError::TooMany { most: MOST_STEPS });
            }
        }
        Ok(steps)
    }

    /// What is to be said of a network, 0 for nothing.
    fn value(&mut self, network: &LookupResult<'_, Vec<u8>>) -> Result<u32, DatabaseError> {
        let Some(offset) = network.offset() else { return Ok(0) };
        if let Some(value) = self.values.get(&offset) {
            return Ok(*value);
        }
        let record: Option<Record> = network.decode().map_err(DatabaseError::Format)?;
        let value = record.unwrap_or_default().value(self.database.kind);
        self.values.insert(offset, value);
        // A record may be made to take long: the clock is read for each.
        self.in_time()?;
        Ok(value)
    }

    fn pace(&mut self) -> Result<(), DatabaseError> {
        self.seen += 1;
        if self.seen > self.most {
            return Err(DatabaseError::TooMany { most: self.most });
        }
        if self.seen.is_multiple_of(1 << 16) {
            self.in_time()?;
            if self.told.elapsed() > TELL_EVERY {
                self.told = Instant::now();
                (self.tell)(&format!("{}: {} networks so far", self.database.identity.path.display(), self.seen));
            }
        }
        Ok(())
    }

    fn in_time(&self) -> Result<(), DatabaseError> {
        if self.began.elapsed() > LONGEST { Err(DatabaseError::Slow { most: LONGEST }) } else { Ok(()) }
    }
}

/// First address and length of a network, if it is one of the family and no other way to IPv4.
fn place(network: &LookupResult<'_, Vec<u8>>, family: Family) -> Result<Option<(Address, u32)>, MaxMindDbError> {
    let network = network.network()?;
    let bits = u32::from(network.prefix());
    Ok(match (network.ip(), family) {
        (IpAddr::V4(first), Family::V4) => Some((Address::from(first.to_bits()) << 96, bits)),
        // A tree without IPv4: all of it is in one network at its front.
        (IpAddr::V6(_), Family::V4) => Some((0, 0)),
        (IpAddr::V4(_), Family::V6) => None,
        (IpAddr::V6(first), Family::V6) => {
            let first = first.to_bits();
            (!IPV4_AGAIN.iter().any(|(again, length)| bits >= *length && (first ^ again) >> (128 - length) == 0))
                .then_some((first, bits))
        }
    })
}

/// Where databases repeat the networks of IPv4: `::/96`, mapped and NAT64 addresses, Teredo, 6to4. No client comes from
/// there; some writers copy instead of pointing.
const IPV4_AGAIN: [(Address, u32); 5] =
    [(0, 96), (0xffff << 32, 96), (0x0064_ff9b << 96, 96), (0x2001_0000 << 96, 32), (0x2002 << 112, 16)];
