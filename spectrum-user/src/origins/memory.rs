//! What names resolved to, kept over restarts: a resolver that is down when this program starts takes no origin away.
//!
//! Serving stale answers is what resolvers do themselves (RFC 8767), and as long.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::answer::{Found, Record};
use crate::{
    model::{AddressRecords, DnsOrigin, DnsRecords},
    state::document::{self, Unreadable},
};

/// RFC 8767, section 5.
const LONGEST: Duration = Duration::from_hours(3 * 24);
/// A thousand addresses for each of two thousand names are 200 MB: what is beyond this is not kept.
const LARGEST: u64 = 16 << 20;
const VERSION: u64 = 1;
/// Seconds for which the time of an answer need not be exact.
const FRESH: u64 = 3600;

/// The document `origins.json`, and what it says.
#[derive(Debug)]
pub(super) struct Memory {
    path: Arc<Path>,
    names: BTreeMap<String, Arc<Remembered>>,
    /// Counts what is to be written.
    edition: u64,
    changed: bool,
    /// Which edition the file is.
    written: Arc<Mutex<u64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// Seconds since 1970.
    seen: u64,
    /// Sorted: in which order records are told says nothing.
    origins: Vec<Origin>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Origin {
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    port: Option<u16>,
    priority: u16,
    weight: u16,
}

#[derive(Deserialize)]
struct Document {
    names: BTreeMap<String, Remembered>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u64,
    names: BTreeMap<&'a str, &'a Remembered>,
}

/// What is to be written: by whom has time for it.
#[derive(Debug)]
pub(super) struct Edition {
    number: u64,
    path: Arc<Path>,
    names: BTreeMap<String, Arc<Remembered>>,
    written: Arc<Mutex<u64>>,
}

impl Memory {
    /// What cannot be read is nothing: then it is asked for.
    pub(super) fn open(path: &Path) -> Self {
        let names = match document::read::<Document>(path, VERSION, LARGEST) {
            Ok(document) => document.names.into_iter().map(|(name, known)| (name, Arc::new(known))).collect(),
            Err(Unreadable::Absent) => BTreeMap::new(),
            Err(why) => {
                log::warn!("{} is not used, names are resolved anew: {why:?}", path.display());
                BTreeMap::new()
            }
        };
        Self { path: PathBuf::from(path).into(), names, edition: 0, changed: false, written: Arc::default() }
    }

    /// `whole`: every part of the question was answered. Else those that are kept without an answer grow no younger.
    pub(super) fn keep(&mut self, asked: &DnsOrigin, found: &[Found], whole: bool, now: SystemTime) {
        let mut origins: Vec<Origin> = found.iter().map(Origin::from).collect();
        origins.sort_unstable();
        let (key, now) = (key(asked), seconds(now));
        let known = self.names.get(&key);
        let seen = known.filter(|_| !whole).map_or(now, |known| known.seen);
        // What has been written lately need not be written again.
        let is_news = |known: &Arc<Remembered>| known.origins != origins || seen.abs_diff(known.seen) >= FRESH;
        if known.is_none_or(is_news) {
            self.names.insert(key, Arc::new(Remembered { seen, origins }));
            self.changed = true;
        }
    }

    /// What a name resolved to lately.
    pub(super) fn recall(&self, asked: &DnsOrigin, now: SystemTime) -> Option<Vec<Found>> {
        let known = self.names.get(&key(asked))?;
        let age = Duration::from_secs(seconds(now).abs_diff(known.seen));
        (age < LONGEST).then(|| known.origins.iter().map(Found::from).collect())
    }

    /// What is to be written, if anything is new.
    pub(super) fn edition(&mut self, now: SystemTime) -> Option<Edition> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.names.retain(|_, known| seconds(now).abs_diff(known.seen) < LONGEST.as_secs());
        self.edition += 1;
        let (path, names, written) = (Arc::clone(&self.path), self.names.clone(), Arc::clone(&self.written));
        Some(Edition { number: self.edition, path, names, written })
    }
}

impl Edition {
    /// Waits for the disk. It is a help at the next start and nothing more: what fails is told.
    pub(super) fn write(self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= self.number {
            return;
        }
        *written = self.number;
        if let Err(why) = self.replace() {
            log::warn!("what names resolve to is not kept in {}: {why}", self.path.display());
        }
    }

    fn replace(&self) -> Result<(), String> {
        let names = self.names.iter().map(|(name, known)| (name.as_str(), &**known)).collect();
        let text = serde_json::to_vec(&Written { version: VERSION, names }).map_err(|error| error.to_string())?;
        if text.len() as u64 > LARGEST {
            return Err(format!("it would be larger than {} MiB", LARGEST >> 20));
        }
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        }
        document::replace(&self.path, &text).map_err(|error| format!("{}: {}", error.step, error.cause))
    }
}

impl From<&Found> for Origin {
    fn from(found: &Found) -> Self {
        let Record { target, port, priority, weight } = &found.record;
        let target = target.as_deref().map(str::to_owned);
        Self { address: found.address, target, port: *port, priority: *priority, weight: *weight }
    }
}

impl From<&Origin> for Found {
    fn from(origin: &Origin) -> Self {
        let Origin { address, target, port, priority, weight } = origin;
        let target = target.as_deref().map(Arc::from);
        Self { address: *address, record: Record { target, port: *port, priority: *priority, weight: *weight } }
    }
}

/// One question: the answer to another one says nothing of it.
fn key(asked: &DnsOrigin) -> String {
    let records = match asked.records {
        DnsRecords::Addresses(AddressRecords::A, _) => "A",
        DnsRecords::Addresses(AddressRecords::Aaaa, _) => "AAAA",
        DnsRecords::Addresses(AddressRecords::Both, _) => "A+AAAA",
        DnsRecords::Srv => "SRV",
    };
    format!("{} {records}", asked.name)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(records: DnsRecords) -> DnsOrigin {
        DnsOrigin { name: "origin.example.net".to_owned(), records, ttl: Duration::from_mins(10) }
    }

    fn found(address: [u8; 4]) -> Found {
        let record = Record { target: Some("a.example.net.".into()), port: Some(7), priority: 1, weight: 2 };
        Found { address: address.into(), record }
    }

    #[test]
    fn what_was_known_is_known_after_a_restart_and_forgotten_after_days() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("origins.json");
        let found = [found([192, 0, 2, 1])];
        let now = SystemTime::now();
        let mut memory = Memory::open(&path);
        memory.keep(&asked(DnsRecords::Srv), &found, true, now);
        memory.edition(now).unwrap().write();
        memory.keep(&asked(DnsRecords::Srv), &found, true, now + Duration::from_mins(1));
        assert!(memory.edition(now).is_none(), "nothing is new");
        let memory = Memory::open(&path);
        assert_eq!(memory.recall(&asked(DnsRecords::Srv), now), Some(found.to_vec()));
        assert_eq!(memory.recall(&asked(DnsRecords::Srv), now + LONGEST), None);
        let other = DnsRecords::Addresses(AddressRecords::A, crate::model::PortRange::single(7).unwrap());
        assert_eq!(memory.recall(&asked(other), now), None, "another question");
    }

    #[test]
    fn another_order_is_no_news() {
        let mut memory = Memory::open(Path::new("/nowhere"));
        let mut one = [found([192, 0, 2, 1]), found([192, 0, 2, 2])];
        let now = SystemTime::now();
        memory.keep(&asked(DnsRecords::Srv), &one, true, now);
        assert!(memory.edition(now).is_some());
        one.reverse();
        memory.keep(&asked(DnsRecords::Srv), &one, true, now);
        assert!(memory.edition(now).is_none());
    }

    #[test]
    fn who_is_kept_without_an_answer_grows_no_younger() {
        let mut memory = Memory::open(Path::new("/nowhere"));
        let now = SystemTime::now();
        memory.keep(&asked(DnsRecords::Srv), &[found([192, 0, 2, 1])], true, now);
        memory.keep(&asked(DnsRecords::Srv), &[found([192, 0, 2, 2])], false, now + LONGEST / 2);
        assert_eq!(memory.recall(&asked(DnsRecords::Srv), now + LONGEST), None);
    }

    #[test]
    fn an_older_edition_never_replaces_a_newer_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("origins.json");
        let now = SystemTime::now();
        let mut memory = Memory::open(&path);
        let [older, newer] = [1, 2].map(|last| {
            memory.keep(&asked(DnsRecords::Srv), &[found([192, 0, 2, last])], true, now);
            memory.edition(now).unwrap()
        });
        newer.write();
        older.write();
        let kept = Memory::open(&path).recall(&asked(DnsRecords::Srv), now).unwrap();
        assert_eq!(kept, [found([192, 0, 2, 2])]);
    }

    #[test]
    fn what_is_no_document_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "[]", "{\"version\":2}", "{\"version\":1,\"names\":{\"a\":{\"seen\":-1}}}"] {
            let path = directory.path().join("origins.json");
            fs::write(&path, text).unwrap();
            assert!(Memory::open(&path).names.is_empty(), "{text}");
        }
    }
}
