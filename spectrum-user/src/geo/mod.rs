//! Where a source is: databases in `MaxMind`'s format become one table from address to network and country.
//!
//! A file is read whole into memory, never mapped: it may be replaced or cut short while it is read. Everything in it
//! is checked before the table exists, so whoever has a table has a whole one. What a file may cost is bounded, in bytes,
//! networks and seconds. Deliberately not here: rules, and the kernel's copy (`dataplane::geo`).

mod database;
mod file;
mod join;
mod record;
mod steps;
mod table;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, path::Path, sync::Arc, time::SystemTime};

use self::database::Database;
pub use self::{
    database::{DatabaseError, Kind},
    file::Identity,
    table::{Counts, Full, Table},
};
use crate::model::{Country, Geo};

/// What one file was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub kind: Kind,
    pub identity: Identity,
    /// What its maker calls it.
    pub database_type: String,
    pub built: SystemTime,
    /// When it was read.
    pub loaded: SystemTime,
    /// Networks in it, as far as they say something of this kind.
    pub networks: usize,
}

/// The databases of a node, joined.
#[derive(Clone, Debug, Default)]
pub struct Databases {
    pub table: Arc<Table>,
    pub files: Vec<Loaded>,
}

/// Where an address is; None where no database says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// 0: of no known network.
    pub asn: Option<u32>,
    /// `XX`: of no known country.
    pub country: Option<Country>,
}

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", path.display())]
pub struct GeoError {
    pub kind: Kind,
    pub path: std::path::PathBuf,
    #[source]
    pub source: DatabaseError,
}

impl Databases {
    /// Reads and joins what the configuration names; `tell` hears how it goes.
    pub fn load(geo: &Geo, tell: &dyn Fn(&str)) -> Result<Self, GeoError> {
        if geo.is_empty() {
            return Ok(Self::default());
        }
        let mut files = Vec::new();
        let mut read = |kind: Kind, path: Option<&Path>| {
            let Some(path) = path else { return Ok(database::Networks::default()) };
            let failed = |source| GeoError { kind, path: path.to_owned(), source };
            let database = Database::open(path, kind).map_err(failed)?;
            tell(&format!(
                "{}: {:.1} MB, {}, built {}",
                path.display(),
                database.identity().megabytes(),
                database.database_type(),
                date(database.built())
            ));
            let networks = database.networks(tell).map_err(failed)?;
            tell(&format!("{}: {} networks", path.display(), networks.count));
            files.push(database.loaded(networks.count));
            Ok(networks)
        };
        let countries = read(Kind::Country, geo.country.as_deref())?;
        let asns = read(Kind::Asn, geo.asn.as_deref())?;
        let table =
            Table::build(&join::join(countries.v4, asns.v4), &join::join(countries.v6, asns.v6)).map_err(|source| {
                GeoError {
                    kind: Kind::Country,
                    path: geo.country.clone().or_else(|| geo.asn.clone()).unwrap_or_default(),
                    source,
                }
            })?;
        Ok(Self { table: Arc::new(table), files })
    }

    /// Whether the files that `geo` names are those that were read.
    pub fn are_current(&self, geo: &Geo) -> bool {
        let is = |kind: Kind, path: Option<&Path>| match (path, self.file(kind)) {
            (None, None) => true,
            (Some(path), Some(read)) => Identity::of(path).is_ok_and(|now| now == read.identity),
            _ => false,
        };
        is(Kind::Country, geo.country.as_deref()) && is(Kind::Asn, geo.asn.as_deref())
    }

    /// Network and country of a canonical address, as far as there are databases that say.
    pub fn whereabouts(&self, address: IpAddr) -> Whereabouts {
        let class = self.table.class(address);
        let asn = self.file(Kind::Asn).map(|_| class.asn);
        let country = self.file(Kind::Country).and_then(|_| Country::of(class.country));
        Whereabouts { asn, country }
    }

    pub fn file(&self, kind: Kind) -> Option<&Loaded> {
        self.files.iter().find(|file| file.kind == kind)
    }
}

/// A day, for people.
pub fn date(at: SystemTime) -> String {
    time::OffsetDateTime::from(at).date().to_string()
}
