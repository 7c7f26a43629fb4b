//! What was tried and when it may be tried again, kept over restarts: a program that is started again and again must not
//! reach the limits of a directory.
//!
//! A try is written down before it begins, so one that takes the program down with it counts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{files, schedule, trouble::Trouble};
use crate::state::document::{self, Unreadable};

const VERSION: u64 = 1;
const LARGEST: u64 = 16 << 20;
/// How long a name is remembered that nobody wants any more.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// The document `tries.json`.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    /// Whose answers these are.
    directory: String,
    tries: Document,
    /// That it is not kept is told once.
    is_told: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    version: u64,
    /// What failed for every host alike.
    #[serde(default)]
    directories: BTreeMap<String, Tried>,
    #[serde(default)]
    hosts: BTreeMap<String, HostTried>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tried {
    /// In a row.
    pub(super) failures: u32,
    /// Seconds since 1970; not before then.
    next: u64,
    pub(super) problem: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct HostTried {
    /// Where it was tried last.
    directory: String,
    tried: Tried,
    /// Where its certificate is from, and seconds since 1970.
    #[serde(default)]
    obtained: Option<(String, u64)>,
}

impl Memory {
    /// What cannot be read is nothing.
    pub(super) fn open(folder: &Path, directory: &str) -> Self {
        let path = folder.join("tries.json");
        let tries = match document::read::<Document>(&path, VERSION, LARGEST) {
            Ok(document) => document,
            Err(Unreadable::Absent) => Document::default(),
            Err(why) => {
                log::warn!("{} is not used, certificates may be ordered too soon: {why:?}", path.display());
                Document::default()
            }
        };
        Self { path, directory: directory.to_owned(), tries, is_told: false }
    }

    /// Of the directory as a whole.
    pub(super) fn general(&self) -> Tried {
        self.tries.directories.get(&self.directory).cloned().unwrap_or_default()
    }

    pub(super) fn tried(&self, host: &str) -> Tried {
        let known = self.tries.hosts.get(host).filter(|known| known.directory == self.directory);
        known.map(|known| known.tried.clone()).unwrap_or_default()
    }

    /// When the certificate came from this directory; an error if it is from another one.
    pub(super) fn obtained(&self, host: &str) -> Result<Option<SystemTime>, ()> {
        match self.tries.hosts.get(host).and_then(|known| known.obtained.as_ref()) {
            None => Ok(None),
            Some((directory, at)) if *directory == self.directory => Ok(Some(time(*at))),
            Some(_) => Err(()),
        }
    }

    /// Before the order: should this be the last that is heard of it, it has failed.
    pub(super) fn begin(&mut self, host: &str, now: SystemTime, luck: f64) {
        let known = self.host(host);
        known.tried.failures = known.tried.failures.saturating_add(1);
        known.tried.next = seconds(now + schedule::again_after(known.tried.failures, None, luck));
        self.write();
    }

    /// It never got so far as to be refused: it counts for nothing.
    pub(super) fn give_up(&mut self, host: &str) {
        let known = self.host(host);
        known.tried.failures = known.tried.failures.saturating_sub(1);
        known.tried.next = 0;
        self.write();
    }

    pub(super) fn fail(&mut self, host: &str, trouble: &Trouble, now: SystemTime, luck: f64) {
        if trouble.is_general {
            let general = self.tries.directories.entry(self.directory.clone()).or_default();
            general.failures = general.failures.saturating_add(1);
            general.note(trouble, now, luck);
            return self.give_up(host);
        }
        self.tries.directories.remove(&self.directory);
        self.host(host).tried.note(trouble, now, luck);
        self.write();
    }

    pub(super) fn succeed(&mut self, host: &str, now: SystemTime) {
        self.tries.directories.remove(&self.directory);
        let directory = self.directory.clone();
        let known = self.host(host);
        known.tried = Tried::default();
        known.obtained = Some((directory, seconds(now)));
        self.write();
    }

    /// What is not wanted is forgotten after a while.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&str) -> bool, now: SystemTime) {
        let is_recent = |at: u64| now.duration_since(time(at)).is_ok_and(|ago| ago < REMEMBERED);
        self.tries.hosts.retain(|host, known| {
            let obtained = known.obtained.as_ref().map_or(0, |(_, at)| *at);
            is_wanted(host) || is_recent(known.tried.next.max(obtained)) || known.tried.waits(now)
        });
    }

    fn host(&mut self, host: &str) -> &mut HostTried {
        let known = self.tries.hosts.entry(host.to_owned()).or_default();
        if known.directory != self.directory {
            known.directory.clone_from(&self.directory);
            known.tried = Tried::default();
        }
        known
    }

    fn write(&mut self) {
        let written = self.replace();
        if let Err(why) = &written
            && !self.is_told
        {
            log::warn!("what was tried is not kept in {}: {why}", self.path.display());
        }
        self.is_told = written.is_err();
    }

    fn replace(&mut self) -> Result<(), String> {
        if let Some(folder) = self.path.parent() {
            files::make_folder(folder)?;
        }
        self.tries.version = VERSION;
        let text = serde_json::to_vec(&self.tries).map_err(|error| error.to_string())?;
        document::replace_secret(&self.path, &text).map_err(|error| format!("{}: {}", error.step, error.cause))
    }
}

impl Tried {
    fn note(&mut self, trouble: &Trouble, now: SystemTime, luck: f64) {
        self.next = seconds(now + schedule::again_after(self.failures, trouble.leave_alone, luck));
        self.problem = Some(trouble.words.clone());
    }

    /// Not before then, if that is to come.
    pub(super) fn next(&self, now: SystemTime) -> Option<SystemTime> {
        Some(time(self.next)).filter(|next| schedule::believed(*next, now))
    }

    fn waits(&self, now: SystemTime) -> bool {
        self.next(now).is_some()
    }
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "a.example";

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(24 * 365 * 50)
    }

    #[test]
    fn a_restart_does_not_shorten_a_wait() {
        let directory = tempfile::tempdir().unwrap();
        let open = |url: &str| Memory::open(directory.path(), url);
        let mut memory = open("https://one/");
        memory.begin(HOST, now(), 0.0);
        assert!(open("https://one/").tried(HOST).next(now()).is_some(), "the order took the program down");
        let hour = Duration::from_hours(1);
        memory.fail(HOST, &Trouble { leave_alone: Some(hour), ..Trouble::new("no") }, now(), 0.0);
        let known = open("https://one/").tried(HOST);
        assert_eq!((known.failures, known.problem.as_deref()), (1, Some("no")));
        assert!(known.next(now()).unwrap() >= now() + hour);
        assert_eq!(open("https://two/").tried(HOST), Tried::default(), "another directory is another matter");
        let mut memory = open("https://one/");
        memory.succeed(HOST, now());
        let memory = open("https://one/");
        assert_eq!(memory.tried(HOST), Tried::default());
        assert_eq!(memory.obtained(HOST), Ok(Some(now())));
        assert_eq!(open("https://two/").obtained(HOST), Err(()));
    }

    #[test]
    fn what_fails_for_all_counts_for_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(directory.path(), "https://one/");
        for failures in 1..3 {
            memory.begin(HOST, now(), 0.0);
            memory.fail(HOST, &Trouble::new("down").general(), now(), 0.0);
            assert_eq!((memory.general().failures, memory.tried(HOST).failures), (failures, 0));
        }
        memory.begin(HOST, now(), 0.0);
        memory.fail(HOST, &Trouble::new("not this one"), now(), 0.0);
        assert_eq!((memory.general().failures, memory.tried(HOST).failures), (0, 1));
    }

    #[test]
    fn who_is_not_wanted_is_forgotten_later() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(directory.path(), "https://one/");
        memory.succeed(HOST, now());
        memory.retain(|_| false, now() + Duration::from_hours(1));
        assert_eq!(memory.obtained(HOST), Ok(Some(now())));
        memory.retain(|_| false, now() + REMEMBERED * 2);
        assert_eq!(memory.obtained(HOST), Ok(None));
    }

    #[test]
    fn what_is_no_document_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "[]", "{\"version\":2}", "{\"version\":1,\"hosts\":{\"a\":1}}"] {
            std::fs::write(directory.path().join("tries.json"), text).unwrap();
            let memory = Memory::open(directory.path(), "https://one/");
            assert_eq!(memory.tried("a"), Tried::default(), "{text}");
        }
    }
}
