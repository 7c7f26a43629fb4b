//! The databases while the daemon runs: read at the start, and again at a reload where a file is another one.

use std::{sync::Arc, time::SystemTime};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    geo::{Databases, GeoError, Kind},
    model::Geo,
};

/// `status`: what is known of networks and countries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoReport {
    pub databases: Vec<DatabaseStatus>,
    /// Ranges of addresses with a network or country of their own.
    pub ranges_v4: usize,
    pub ranges_v6: usize,
    /// `compact` or `full`.
    pub memory: String,
    /// Of the kernel's.
    pub bytes: usize,
    /// Why newer files are not in use.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// `country` or `asn`.
    pub kind: String,
    pub file: String,
    pub database_type: String,
    pub networks: usize,
    /// RFC 3339.
    pub built: String,
    pub loaded: String,
}

/// What there is to put in place, or to keep.
pub(super) struct Found {
    pub(super) databases: Arc<Databases>,
    /// Why they are the old ones.
    pub(super) problem: Option<String>,
}

/// The databases that `config` names: those of `have` where the files are the same, or cannot be used any more.
pub(super) async fn find(config: &Config, have: &Arc<Databases>) -> anyhow::Result<Found> {
    let geo = &config.node.geo;
    let keep = |problem| Found { databases: Arc::clone(have), problem };
    if have.are_current(geo) {
        return Ok(keep(None));
    }
    match load(geo).await? {
        Ok(databases) => Ok(Found { databases: Arc::new(databases), problem: None }),
        Err(error) if names_the_same(have, geo) => {
            let problem = format!("{:#}", anyhow::Error::new(error));
            log::error!("{problem}; what was read of it before stays in use");
            Ok(keep(Some(problem)))
        }
        Err(error) => Err(config.database_error(&error).into()),
    }
}

/// Reads them on a thread of its own: it takes a while, and nothing in a file may end the daemon.
async fn load(geo: &Geo) -> anyhow::Result<Result<Databases, GeoError>> {
    let geo = geo.clone();
    let reading = tokio::task::spawn_blocking(move || Databases::load(&geo, &|line| log::info!("{line}")));
    reading.await.context("read the databases of [geo]")
}

/// Whether `have` was read from the files that `geo` names, in whatever version.
fn names_the_same(have: &Databases, geo: &Geo) -> bool {
    let same = |kind: Kind, path: Option<&std::path::PathBuf>| have.file(kind).map(|file| &file.identity.path) == path;
    same(Kind::Country, geo.country.as_ref()) && same(Kind::Asn, geo.asn.as_ref())
}

impl GeoReport {
    pub(super) fn new(databases: &Databases, geo: &Geo, bytes: usize, problem: Option<String>) -> Option<Self> {
        if databases.files.is_empty() {
            return None;
        }
        let time = |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string();
        let counts = databases.table.counts();
        let files = databases.files.iter().map(|file| DatabaseStatus {
            kind: file.kind.key().to_owned(),
            file: file.identity.path.display().to_string(),
            database_type: file.database_type.clone(),
            networks: file.networks,
            built: time(file.built),
            loaded: time(file.loaded),
        });
        Some(Self {
            databases: files.collect(),
            ranges_v4: counts.v4,
            ranges_v6: counts.v6,
            memory: geo.memory.as_str().to_owned(),
            bytes,
            problem,
        })
    }
}
