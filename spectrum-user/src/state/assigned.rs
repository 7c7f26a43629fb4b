//! Addresses that hostnames are given, on their way to the disk: kept when the state that rests on them is put in force,
//! and given up again where that fails. Else hostnames would lose theirs to a file that was never served.

use std::path::{Path, PathBuf};

use super::{Assignments, StoreError, store};

/// What is to be kept; nothing where no application asks for dynamic addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    directory: PathBuf,
    assignments: Option<Assignments>,
}

/// What is kept for now: dropped, it puts back what was there before.
#[derive(Debug)]
#[must_use]
pub struct Provisional(Option<(PathBuf, Assignments)>);

impl Assigned {
    pub(super) fn new(directory: &Path, assignments: Option<Assignments>) -> Self {
        Self { directory: directory.to_owned(), assignments }
    }

    /// Keeps them, before anybody can see them.
    pub fn keep(&self) -> Result<Provisional, StoreError> {
        let Some(assignments) = &self.assignments else { return Ok(Provisional(None)) };
        let before = store::read(&self.directory)?;
        if before == *assignments {
            return Ok(Provisional(None));
        }
        store::write(&self.directory, assignments)?;
        Ok(Provisional(Some((self.directory.clone(), before))))
    }
}

impl Provisional {
    /// They are in force.
    pub fn confirm(mut self) {
        self.0 = None;
    }
}

impl Drop for Provisional {
    fn drop(&mut self) {
        if let Some((directory, before)) = self.0.take()
            && let Err(error) = store::write(&directory, &before)
        {
            log::error!("the edge addresses that hostnames had before could not be kept: {error}");
        }
    }
}
