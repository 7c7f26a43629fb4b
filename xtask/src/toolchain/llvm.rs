//! LLVM's version, and where its shared library is.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Context as _, Result};

use crate::command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut numbers = text.split('.').map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            anyhow::bail!("`{text}` is no LLVM version");
        };
        Ok(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The shared library of this LLVM, which the compiler itself uses: beside it, or where the system's loader finds it.
pub(super) fn library(version: Version, beside: Option<&Path>) -> Result<PathBuf> {
    let candidates = match beside {
        Some(folder) => in_folder(folder)?,
        None => in_cache()?,
    };
    let place = beside.map_or("`ldconfig -p` lists".to_owned(), |folder| format!("{} holds", folder.display()));
    candidates
        .into_iter()
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| names(name, version)))
        .with_context(|| format!("{place} no libLLVM.so.{version}"))
}

/// `libLLVM.so.22.1`, with rustup's suffix or without.
fn names(file: &str, version: Version) -> bool {
    file.strip_prefix("libLLVM.so.")
        .and_then(|rest| rest.strip_prefix(&version.to_string()))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

fn in_cache() -> Result<Vec<PathBuf>> {
    // Not on every user's PATH.
    let program = if Path::new("/sbin/ldconfig").exists() { "/sbin/ldconfig" } else { "ldconfig" };
    let cache = command::output(Command::new(program).arg("-p"))?;
    Ok(cache.lines().filter_map(|line| Some(PathBuf::from(line.split_once(" => ")?.1))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_two_numbers() {
        let version: Version = "22.1.8".parse().unwrap();
        assert_eq!(version, Version { major: 22, minor: 1 });
        assert!("nightly".parse::<Version>().is_err());
    }

    #[test]
    fn a_library_is_of_exactly_this_version() {
        let version = Version { major: 22, minor: 1 };
        assert!(names("libLLVM.so.22.1", version));
        assert!(names("libLLVM.so.22.1-rust-1.97.0-nightly", version));
        assert!(!names("libLLVM.so.22.10", version));
        assert!(!names("libLLVM-15.so.1", version));
        assert!(!names("libLLVM.so.21.1", version));
    }
}
