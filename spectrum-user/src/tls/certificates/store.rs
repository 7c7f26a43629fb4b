//! The sources from look to look, and the newest snapshot of what is in them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::SystemTime};

use super::{
    entry::{Change, Entry, Telling, Trouble},
    names,
    notice::{Notice, Told},
    report::CertificateReport,
    snapshot::{Certificates, Row},
    source::{Listing, Source, Unlisted},
};

/// Owns the sources, and looks at them when it is told to. Whoever has it does so on a thread that may wait for disks.
#[derive(Debug)]
pub struct Store {
    sources: Vec<Watched>,
    newest: Arc<Certificates>,
    told: Told,
}

/// A change of what the sources have.
#[derive(Clone, Debug)]
pub struct Refreshed {
    pub certificates: Arc<Certificates>,
    /// Read anew: another certificate, or the same with other problems or with none.
    pub taken: Vec<CertificateReport>,
    /// Gone with their files.
    pub removed: Vec<CertificateReport>,
    /// What is there now cannot be used. Where there is a certificate, it is the one before, which stays in use.
    pub bad: Vec<CertificateReport>,
}

#[derive(Debug)]
struct Watched {
    source: Source,
    /// The file system that the source was on when it last had anything.
    device: Option<u64>,
    trouble: Trouble,
    entries: BTreeMap<PathBuf, Entry>,
}

/// What looks at all sources changed.
#[derive(Debug, Default)]
struct Changes {
    taken: Vec<Row>,
    removed: Vec<Row>,
    bad: Vec<Row>,
    /// Something that is in no list, such as a bad file that is gone.
    other: bool,
}

impl Store {
    /// Reads all sources. What cannot be read is in the report.
    pub fn open(sources: Vec<Source>, now: SystemTime) -> (Self, Arc<Certificates>) {
        let watched = |source| Watched { source, device: None, trouble: Trouble::default(), entries: BTreeMap::new() };
        let mut sources: Vec<Watched> = sources.into_iter().map(watched).collect();
        for watched in &mut sources {
            watched.look(now, Telling::AtOnce, &mut Changes::default());
        }
        let newest = snapshot(&sources);
        (Self { sources, newest: Arc::clone(&newest), told: Told::default() }, newest)
    }

    /// Looks at all sources, and reads what changed. None: nothing did.
    ///
    /// What cannot be used is told at the second look that finds the same, since files are replaced one after the other.
    pub fn refresh(&mut self, now: SystemTime) -> Option<Refreshed> {
        let mut changes = Changes::default();
        for watched in &mut self.sources {
            watched.look(now, Telling::OnceItStays, &mut changes);
        }
        if changes.is_none() {
            return None;
        }
        self.newest = snapshot(&self.sources);
        let reports = |rows: Vec<Row>| rows.iter().map(|row| row.report(now)).collect();
        Some(Refreshed {
            certificates: Arc::clone(&self.newest),
            taken: reports(changes.taken),
            removed: reports(changes.removed),
            bad: reports(changes.bad),
        })
    }

    /// What the last look found.
    pub const fn newest(&self) -> &Arc<Certificates> {
        &self.newest
    }

    /// Certificates that came nearer to their end since the last call, each stage of each certificate once.
    pub fn notices(&mut self, now: SystemTime) -> Vec<Notice> {
        self.told.notices(&self.newest, now)
    }
}

fn snapshot(sources: &[Watched]) -> Arc<Certificates> {
    let rows = |yields: bool| {
        let sources = sources.iter().filter(move |watched| watched.source.yields == yields);
        sources.flat_map(|watched| {
            let source = watched.trouble.told().map(|_| watched.row());
            source.into_iter().chain(watched.entries.values().filter_map(Entry::row))
        })
    };
    Arc::new(Certificates::new(rows(false).collect(), rows(true).collect()))
}

impl Watched {
    fn look(&mut self, now: SystemTime, telling: Telling, changes: &mut Changes) {
        match self.list() {
            Ok(listing) => {
                if self.trouble.over() {
                    changes.taken.push(self.row());
                }
                if !listing.places.is_empty() {
                    self.device = Some(listing.device);
                }
                self.entries(listing, now, telling, changes);
            }
            // Everything of it stays as it is.
            Err(problem) => {
                if self.trouble.seen(format!("{}: {problem}", names::shown(&self.source.path)), [0; 32], telling) {
                    changes.bad.push(self.row());
                }
            }
        }
    }

    fn list(&self) -> Result<Listing, String> {
        match self.source.list() {
            // A directory whose file system is no longer mounted is empty, and has another one's number.
            Ok(listing) if listing.places.is_empty() && self.device.is_some_and(|device| device != listing.device) => {
                Err("it is empty and on another file system than before: mount the one with the certificates"
                    .to_owned())
            }
            Err(Unlisted::Absent) if self.source.may_be_absent && self.entries.is_empty() => {
                Ok(Listing { places: BTreeMap::new(), device: 0 })
            }
            listing => listing.map_err(|error| error.to_string()),
        }
    }

    fn entries(&mut self, listing: Listing, now: SystemTime, telling: Telling, changes: &mut Changes) {
        self.entries.retain(|path, entry| {
            let stays = listing.places.contains_key(path);
            if !stays {
                changes.removed(entry);
            }
            stays
        });
        for (path, place) in listing.places {
            let entry = self.entries.entry(path).or_insert_with(|| Entry::new(place.clone()));
            match entry.look(place, now, telling) {
                Some(Change::Taken) => changes.taken.extend(entry.row()),
                Some(Change::Bad) => changes.bad.extend(entry.row()),
                None => {}
            }
        }
    }

    /// The source as a whole.
    fn row(&self) -> Row {
        let is_kept = self.entries.values().any(Entry::is_used);
        let kept = if is_kept { "; the certificates that were read from it before are still used" } else { "" };
        let problems = self.trouble.told().map(|problem| format!("{problem}{kept}"));
        Row {
            hostname: None,
            path: self.source.path.clone(),
            certificate: None,
            problems: problems.into_iter().collect(),
        }
    }
}

impl Changes {
    fn removed(&mut self, entry: &Entry) {
        let Some(row) = entry.row() else { return };
        if entry.is_used() {
            self.removed.push(row);
        } else {
            self.other = true;
        }
    }

    const fn is_none(&self) -> bool {
        self.taken.is_empty() && self.removed.is_empty() && self.bad.is_empty() && !self.other
    }
}
