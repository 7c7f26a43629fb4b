//! Keeps the rules that operators made over restarts: `rules.json` in the state directory, replaced as a whole or not
//! at all, and the file before it as `rules.json.last`, for the day when the newer one cannot be read.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::written::Written;
use crate::{
    model::{AccessRule, Geo, RuleId, Zone},
    state::document::{self, Unreadable},
};

/// The kept rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleStoreError {
    #[error("cannot read the rules that operators made in {path}: {cause}")]
    Read { path: PathBuf, cause: io::Error },
    #[error(
        "{path} does not hold the rules that operators made ({why}), and neither does {last} beside it; restore one of \
         them from a backup, or remove both to start without these rules"
    )]
    Corrupt { path: PathBuf, last: PathBuf, why: String },
    #[error("{path} was written by a newer program (version {version}); use that program, or remove the file")]
    Newer { path: PathBuf, version: u64 },
    #[error("cannot keep the rules that operators made: cannot {step} {path}: {cause}")]
    Write { step: &'static str, path: PathBuf, cause: io::Error },
}

/// A rule and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub rule: AccessRule,
    pub created: SystemTime,
    pub modified: SystemTime,
}

/// A rule that means nothing now, because its zone or its database is gone: kept for the day when that is back.
#[derive(Clone, Debug)]
pub struct LeftOut {
    written: Written,
    why: String,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    pub rules: Vec<Kept>,
    pub left_out: Vec<LeftOut>,
    /// What an operator should know: rules that are left out or have ended, an older file that was taken.
    pub notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    rules: Vec<Written>,
}

const VERSION: u64 = 1;
const NAME: &str = "rules.json";
/// 65,535 rules with long notes are less than this.
const LARGEST: u64 = 64 << 20;

/// The rules that are kept in a state directory; none where there is no file.
pub fn read(state_dir: &Path, zones: &[Zone], geo: &Geo) -> Result<Loaded, RuleStoreError> {
    let (path, last) = (state_dir.join(NAME), last(state_dir));
    let why = match parse(&path)? {
        Ok(None) => return Ok(Loaded::default()),
        Ok(Some(document)) => return Ok(understand(document.rules, zones, geo)),
        Err(why) => why,
    };
    let Ok(Some(document)) = parse(&last)? else { return Err(RuleStoreError::Corrupt { path, last, why }) };
    let mut loaded = understand(document.rules, zones, geo);
    loaded.notes.insert(
        0,
        format!(
            "{} cannot be read ({why}): the rules of {} are in force, the last change of rules may be missing",
            path.display(),
            last.display()
        ),
    );
    Ok(loaded)
}

/// Reads anew what was left out: another file may know the zone, or name a database.
pub fn again(left_out: &[LeftOut], zones: &[Zone], geo: &Geo) -> Loaded {
    understand(left_out.iter().map(|left| left.written.clone()).collect(), zones, geo)
}

/// Replaces what is kept. After this returns it survives a loss of power.
pub fn write<'a>(
    state_dir: &Path,
    rules: impl Iterator<Item = (&'a AccessRule, SystemTime, SystemTime)>,
    left_out: &[LeftOut],
    zones: &[Zone],
) -> Result<(), RuleStoreError> {
    let path = state_dir.join(NAME);
    let written = rules.map(|(rule, created, modified)| Written::of(rule, created, modified, zones));
    let document =
        Document { version: VERSION, rules: written.chain(left_out.iter().map(|left| left.written.clone())).collect() };
    let failed = |step: &'static str, path: &Path, cause| RuleStoreError::Write { step, path: path.to_owned(), cause };
    let mut text =
        serde_json::to_vec_pretty(&document).map_err(|error| failed("encode", &path, io::Error::from(error)))?;
    text.push(b'\n');
    if text.len() as u64 > LARGEST {
        let cause = format!("all rules together would be larger than {} MiB", LARGEST >> 20);
        return Err(failed("replace", &path, io::Error::new(io::ErrorKind::FileTooLarge, cause)));
    }
    fs::create_dir_all(state_dir).map_err(|cause| failed("create", state_dir, cause))?;
    // What can be read now is the last resort later.
    if matches!(parse(&path), Ok(Ok(Some(_)))) {
        let last = last(state_dir);
        let _ = fs::remove_file(&last);
        fs::hard_link(&path, &last).map_err(|cause| failed("link", &last, cause))?;
    }
    document::replace(&path, &text).map_err(|error| failed(error.step, &error.path, error.cause))
}

/// Rules as another process of this program understands them.
pub fn pack<'a>(rules: impl Iterator<Item = (&'a AccessRule, SystemTime, SystemTime)>, zones: &[Zone]) -> Value {
    let written: Vec<Written> =
        rules.map(|(rule, created, modified)| Written::of(rule, created, modified, zones)).collect();
    serde_json::to_value(written).unwrap_or_default()
}

/// What [`pack`] packed; what means nothing here is left out and told.
pub fn unpack(packed: &Value, zones: &[Zone], geo: &Geo) -> Loaded {
    understand(Vec::deserialize(packed).unwrap_or_default(), zones, geo)
}

fn last(state_dir: &Path) -> PathBuf {
    state_dir.join(format!("{NAME}.last"))
}

/// `Ok(Ok(None))`: there is no file. `Ok(Err(why))`: what is there is no list of rules.
fn parse(path: &Path) -> Result<Result<Option<Document>, String>, RuleStoreError> {
    match document::read(path, VERSION, LARGEST) {
        Ok(document) => Ok(Ok(Some(document))),
        Err(Unreadable::Absent) => Ok(Ok(None)),
        Err(Unreadable::Corrupt(why)) => Ok(Err(why)),
        Err(Unreadable::Newer(version)) => Err(RuleStoreError::Newer { path: path.to_owned(), version }),
        Err(Unreadable::Io(cause)) => Err(RuleStoreError::Read { path: path.to_owned(), cause }),
    }
}

/// Rules that cannot be read (a zone that is gone, say) are left out and told; those whose time is over just end.
fn understand(rules: Vec<Written>, zones: &[Zone], geo: &Geo) -> Loaded {
    let mut loaded = Loaded::default();
    let now = SystemTime::now();
    for written in rules {
        let name = format!("{} {}", written.mode, written.configuration.value);
        match written.clone().read(NAME, zones, geo) {
            Ok(kept) if kept.rule.has_ended(now) => {
                loaded.notes.push(format!("the operator's rule {name} has ended in the meantime"));
            }
            Ok(kept) => loaded.rules.push(kept),
            Err(why) => {
                let left = LeftOut { written, why };
                loaded.notes.push(left.to_string());
                loaded.left_out.push(left);
            }
        }
    }
    loaded
}

impl LeftOut {
    pub fn is(&self, id: RuleId) -> bool {
        self.written.id == id.to_string()
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { id, mode, configuration, .. } = &self.written;
        write!(f, "the operator's rule {mode} {} is not in force: {} (rule {id})", configuration.value, self.why)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{RuleMode, Scope, Target, ZoneId};

    fn zones() -> Vec<Zone> {
        vec![Zone { id: ZoneId::derive(&["example.com"]), name: "example.com".to_owned() }]
    }

    fn rule(prefix: &str) -> AccessRule {
        AccessRule {
            id: RuleId::derive(&[prefix]),
            scope: Scope::Zone(zones()[0].id),
            mode: RuleMode::Block,
            target: Target::Prefix(prefix.parse().unwrap()),
            notes: "a \"note\"\nin two lines".to_owned(),
            simulate: true,
            expires_on: Some(whole_seconds() + Duration::from_hours(1)),
        }
    }

    fn whole_seconds() -> SystemTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
    }

    fn keep(directory: &Path, rules: &[AccessRule]) {
        write(directory, rules.iter().map(|rule| (rule, whole_seconds(), whole_seconds())), &[], &zones()).unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path(), &zones(), &Geo::default()).unwrap().rules.is_empty(), "nothing yet");
        let rules = [rule("192.0.2.0/24"), rule("192.0.2.1/32"), rule("2001:db8::/48")];
        keep(directory.path(), &rules);
        let loaded = read(directory.path(), &zones(), &Geo::default()).unwrap();
        assert_eq!(loaded.rules.into_iter().map(|kept| kept.rule).collect::<Vec<_>>(), rules);
        assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    }

    #[test]
    fn of_a_broken_file_the_one_before_it_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (rule("192.0.2.1/32"), rule("192.0.2.2/32"));
        keep(directory.path(), std::slice::from_ref(&first));
        keep(directory.path(), &[first.clone(), second]);
        let path = directory.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, whole.len() / 2, whole.len() - 3] {
            fs::write(&path, &whole[..length]).unwrap();
            let loaded = read(directory.path(), &zones(), &Geo::default()).unwrap();
            assert_eq!(loaded.rules.len(), 1, "{length}");
            assert_eq!(loaded.rules[0].rule, first);
            assert!(loaded.notes[0].contains("cannot be read"), "{:?}", loaded.notes);
        }
        // The broken one does not become the last resort.
        keep(directory.path(), &[]);
        fs::write(&path, "{").unwrap();
        assert_eq!(read(directory.path(), &zones(), &Geo::default()).unwrap().rules.len(), 1);
        fs::write(last(directory.path()), "x").unwrap();
        let error = read(directory.path(), &zones(), &Geo::default()).unwrap_err();
        assert!(matches!(error, RuleStoreError::Corrupt { .. }) && error.to_string().contains("backup"), "{error}");
        fs::write(&path, "{\"version\": 2, \"other\": []}").unwrap();
        assert!(matches!(
            read(directory.path(), &zones(), &Geo::default()),
            Err(RuleStoreError::Newer { version: 2, .. })
        ));
    }

    #[test]
    fn a_rule_that_means_nothing_any_more_is_left_out_and_told() {
        let directory = tempfile::tempdir().unwrap();
        let ended = AccessRule { expires_on: Some(SystemTime::now() - Duration::from_secs(5)), ..rule("192.0.2.9/32") };
        keep(directory.path(), &[rule("192.0.2.1/32"), ended]);
        let loaded = read(directory.path(), &zones(), &Geo::default()).unwrap();
        assert_eq!((loaded.rules.len(), loaded.notes.len()), (1, 1), "{:?}", loaded.notes);
        let others = [Zone { id: ZoneId::derive(&["example.net"]), name: "example.net".to_owned() }];
        let loaded = read(directory.path(), &others, &Geo::default()).unwrap();
        assert!(loaded.rules.is_empty() && loaded.notes[0].contains("no zone"), "{:?}", loaded.notes);
        // It is kept, and means something again with the zone.
        write(directory.path(), std::iter::empty(), &loaded.left_out, &others).unwrap();
        assert!(loaded.left_out[0].is(rule("192.0.2.1/32").id));
        let loaded =
            again(&read(directory.path(), &others, &Geo::default()).unwrap().left_out, &zones(), &Geo::default());
        assert_eq!(loaded.rules.into_iter().map(|kept| kept.rule).collect::<Vec<_>>(), [rule("192.0.2.1/32")]);
        assert!(loaded.left_out.is_empty());
    }
}
