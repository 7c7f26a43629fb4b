//! Where event lines are kept, if anywhere.

use std::io::{self, Write as _};

use super::EventLogError;
use crate::{model::EventSink, telemetry::file::RotatedFile};

pub(super) enum Sink {
    Nowhere,
    Stdout(io::Stdout),
    File(RotatedFile),
}

impl Sink {
    pub(super) fn open(sink: Option<&EventSink>) -> Result<Self, EventLogError> {
        Ok(match sink {
            None => Self::Nowhere,
            Some(EventSink::Stdout) => Self::Stdout(io::stdout()),
            Some(EventSink::File(path)) => Self::File(
                RotatedFile::open(path)
                    .map_err(|source| EventLogError::Open { path: path.display().to_string(), source })?,
            ),
        })
    }

    /// Appends whole lines.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout(stdout) => stdout.lock().write_all(bytes).and_then(|()| stdout.flush()),
            Self::File(file) => file.write(bytes),
        }
    }
}
