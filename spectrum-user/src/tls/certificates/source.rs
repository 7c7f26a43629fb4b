//! Where certificates are: files of a directory and their names, of which some are a host's chain and its key.
//!
//! Nothing is opened here. `HOST.pem` with `HOST.key` beside it, or with the key in itself; `HOST.ecdsa.pem` and so on for
//! several of one host; and `HOST/fullchain.pem` with `HOST/privkey.pem`, as certbot leaves them. All else is passed over.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{KeyType, names};

/// A directory of certificates, or one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    /// Whether it is in order that there is no such directory yet: somebody makes it when there is a first certificate.
    pub may_be_absent: bool,
    /// Whether its certificates are for those alone for whom no other source has one.
    pub yields: bool,
}

/// A chain and where its key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The hostname in the file's name.
    pub(super) host: String,
    /// Whether that name promises whose certificate it is. Certbot names a directory for the first of many names.
    pub(super) promises: bool,
    pub(super) key_type: Option<KeyType>,
    pub(super) chain: PathBuf,
    /// There is a key and no chain.
    pub(super) is_orphan: bool,
    /// None: the key should be in the chain's file.
    pub(super) key: Option<PathBuf>,
    /// Where a missing key would be looked for.
    pub(super) key_wanted: PathBuf,
}

/// What a source has, by the path of the chain.
pub(super) struct Listing {
    pub(super) places: BTreeMap<PathBuf, Place>,
    /// Which file system it is on.
    pub(super) device: u64,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unlisted {
    #[error("there is no such directory or file: create it, or correct the path")]
    Absent,
    #[error("it cannot be read ({0}): let the user that Spectrum runs as read it")]
    Io(io::Error),
    #[error("there are more than {MOST_ENTRIES} entries in it: use several directories")]
    TooMany,
}

/// Entries of one directory, of whatever kind: each poll looks at all of them.
const MOST_ENTRIES: usize = 20_000;

const CHAIN: &str = "fullchain.pem";
const KEY: &str = "privkey.pem";

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self { path, may_be_absent: false, yields: false }
    }
}

impl Source {
    pub(super) fn list(&self) -> Result<Listing, Unlisted> {
        let metadata = fs::metadata(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unlisted::Absent,
            _ => Unlisted::Io(error),
        })?;
        let places = if metadata.is_dir() { of_directory(&self.path)? } else { vec![of_file(&self.path)] };
        let places = places.into_iter().map(|place| (place.chain.clone(), place)).collect();
        Ok(Listing { places, device: metadata.dev() })
    }
}

fn of_directory(directory: &Path) -> Result<Vec<Place>, Unlisted> {
    let (mut chains, mut keys, mut places) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (index, entry) in fs::read_dir(directory).map_err(Unlisted::Io)?.enumerate() {
        if index >= MOST_ENTRIES {
            return Err(Unlisted::TooMany);
        }
        let entry = entry.map_err(Unlisted::Io)?;
        let name = entry.file_name();
        let kind = entry.file_type().map_err(Unlisted::Io)?;
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        if let Some(stem) = stem(&name, ".pem").filter(|_| !kind.is_dir()) {
            chains.insert(stem);
        } else if let Some(stem) = stem(&name, ".key").filter(|_| !kind.is_dir()) {
            keys.insert(stem);
        } else if kind.is_dir() || kind.is_symlink() {
            places.extend(of_host_directory(&entry.path()));
        }
    }
    // Somebody may name a host's directory itself. Its other files are parts of the full chain, and no hosts.
    if let Some(place) = of_host_directory(directory) {
        for part in ["cert", "chain", "fullchain", "privkey"] {
            chains.remove(OsStr::new(part));
        }
        places.push(place);
    }
    for stem in chains.union(&keys) {
        let is_orphan = !chains.contains(stem);
        // A key alone is told of only where a host's certificate may be missing: people keep other keys, too.
        if !is_orphan || is_hostname(&names::of_file(&stem.to_string_lossy())) {
            places.push(of_stem(directory, stem, keys.contains(stem), is_orphan));
        }
    }
    Ok(places)
}

fn stem(name: &OsStr, ending: &str) -> Option<OsString> {
    let stem = name.as_bytes().strip_suffix(ending.as_bytes())?;
    (!stem.is_empty()).then(|| OsStr::from_bytes(stem).to_owned())
}

fn of_stem(directory: &Path, stem: &OsStr, has_key: bool, is_orphan: bool) -> Place {
    let file = |ending: &str| {
        let mut name = stem.to_owned();
        name.push(ending);
        directory.join(name)
    };
    let (host, key_type) = host(&stem.to_string_lossy());
    let key = file(".key");
    Place {
        promises: is_hostname(&host),
        host,
        key_type,
        chain: file(".pem"),
        is_orphan,
        key: has_key.then(|| key.clone()),
        key_wanted: key,
    }
}

/// `example.com.ecdsa` is for `example.com`.
fn host(stem: &str) -> (String, Option<KeyType>) {
    let typed = stem.rsplit_once('.').and_then(|(host, word)| Some((host, KeyType::of_word(word)?)));
    match typed {
        Some((host, key_type)) if !host.is_empty() => (names::of_file(host), Some(key_type)),
        _ => (names::of_file(stem), None),
    }
}

fn is_hostname(host: &str) -> bool {
    host.contains('.') && names::is_plausible(host)
}

/// A directory as certbot has them, if it is one. That its files cannot be looked at is for the reading to tell.
fn of_host_directory(directory: &Path) -> Option<Place> {
    let chain = directory.join(CHAIN);
    if !is_there(&chain) {
        return None;
    }
    // `.` and `..` have a name only as what they stand for.
    let absolute = directory.file_name().is_none().then(|| fs::canonicalize(directory).ok()).flatten();
    let name = absolute.as_deref().unwrap_or(directory).file_name().unwrap_or_default().to_string_lossy();
    let key = directory.join(KEY);
    Some(Place {
        host: names::of_file(without_count(&name)),
        promises: false,
        key_type: None,
        chain,
        is_orphan: false,
        key: is_there(&key).then(|| key.clone()),
        key_wanted: key,
    })
}

/// Certbot appends `-0001` where there is such a directory already.
fn without_count(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((host, count)) if count.len() == 4 && count.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => name,
    }
}

/// Whether there is something of this name, be it a link to nothing or closed to us.
fn is_there(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

fn of_file(path: &Path) -> Place {
    if path.file_name().is_some_and(|name| name == CHAIN) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Some(place) = of_host_directory(directory) {
            return Place { chain: path.to_owned(), ..place };
        }
    }
    let (host, key_type) = host(&path.file_stem().unwrap_or_default().to_string_lossy());
    let key = path.with_extension("key");
    Place {
        promises: is_hostname(&host),
        host,
        key_type,
        chain: path.to_owned(),
        is_orphan: false,
        key: (key != path && is_there(&key)).then(|| key.clone()),
        key_wanted: key,
    }
}
