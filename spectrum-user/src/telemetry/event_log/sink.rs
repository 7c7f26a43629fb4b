//! Where event lines are kept, if anywhere.

use std::{fs::File, io, os::fd::AsFd as _};

use super::EventLogError;
use crate::{
    model::EventSink,
    telemetry::{file::RotatedFile, lines::Lines},
};

/// What a pipe takes whole (`PIPE_BUF`), so that lines of two processes that write to one do not mix.
const AT_ONCE: usize = 4096;

pub(super) enum Sink {
    Nowhere,
    Stdout(Lines<File>),
    File(RotatedFile),
}

impl Sink {
    pub(super) fn open(sink: Option<&EventSink>) -> Result<Self, EventLogError> {
        Ok(match sink {
            None => Self::Nowhere,
            Some(EventSink::Stdout) => {
                // Not through the library's buffer, which keeps what could not be written.
                let own = io::stdout().as_fd().try_clone_to_owned();
                let own = own.map_err(|source| EventLogError::Open { path: "stdout".to_owned(), source })?;
                Self::Stdout(Lines::new(own.into()))
            }
            Some(EventSink::File(path)) => Self::File(
                RotatedFile::open(path)
                    .map_err(|source| EventLogError::Open { path: path.display().to_string(), source })?,
            ),
        })
    }

    /// Appends whole lines, and says how many of them it has.
    pub(super) fn write(&mut self, lines: &[u8]) -> (u64, io::Result<()>) {
        match self {
            Self::Nowhere => (u64::MAX, Ok(())),
            Self::Stdout(stdout) => stdout.write(lines, AT_ONCE),
            Self::File(file) => file.write(lines),
        }
    }
}
