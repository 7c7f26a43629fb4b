//! How a connection ended, and the product's status code for it: decided in one place.

use std::io;

use super::{By, OriginAddr, dial::DialError};
use crate::telemetry::{EventKind, Matched};

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Both sides said all they had to say.
    Closed,
    Failed(Failure),
    /// Its task was dropped or panicked: see `Record`.
    Aborted {
        panicking: bool,
    },
}

/// Why a connection did not end by itself. The message is for a person; the status for the event log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no application at this address and port")]
    Unclassified,
    #[error("an access rule blocks the client")]
    Denied(Matched),
    #[error("no origin accepted")]
    Dial(Option<OriginAddr>, #[source] DialError),
    #[error("the client's side broke")]
    Client(#[source] io::Error),
    #[error("the origin's side broke")]
    Origin(#[source] io::Error),
    #[error("no byte in either direction for as long as `idle_timeout` says")]
    Idle,
    #[error("still open at the end of the drain")]
    Drained,
    #[error("a new access rule blocks the client")]
    Revoked(Matched),
}

/// What an allow rule is called in the event log, by what it names.
pub(super) const fn allowed(by: By) -> Matched {
    match by {
        By::Address => Matched::AllowIp,
        By::Asn => Matched::AllowAsn,
        By::Country => Matched::AllowCountry,
    }
}

/// The same of a block rule.
pub(super) const fn blocked(by: By) -> Matched {
    match by {
        By::Address => Matched::BlockIp,
        By::Asn => Matched::BlockAsn,
        By::Country => Matched::BlockCountry,
    }
}

impl Outcome {
    /// The product's status code (`spectrum_events`).
    pub(super) fn status(&self) -> u16 {
        match self {
            // The proxy ends an idle connection in an orderly way; `reason` tells it apart.
            Self::Closed | Self::Failed(Failure::Idle) => 200,
            Self::Failed(Failure::Denied(_) | Failure::Revoked(_)) => 403,
            Self::Failed(Failure::Dial(_, error)) => error.status(),
            Self::Failed(Failure::Origin(error)) => origin_status(error),
            Self::Failed(Failure::Client(error)) => client_status(error),
            Self::Aborted { panicking: true } => 500,
            Self::Failed(Failure::Unclassified | Failure::Drained) | Self::Aborted { panicking: false } => 999,
        }
    }

    pub(super) fn event(&self) -> EventKind {
        match self {
            Self::Failed(Failure::Denied(_) | Failure::Revoked(_)) => EventKind::ClientFiltered,
            Self::Failed(Failure::Dial(..)) => EventKind::OriginError,
            Self::Closed | Self::Failed(_) | Self::Aborted { .. } => EventKind::Disconnect,
        }
    }

    /// One fixed word.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed(failure) => failure.reason(),
            Self::Aborted { panicking: true } => "panic",
            Self::Aborted { panicking: false } => "aborted",
        }
    }
}

impl Failure {
    fn reason(&self) -> &'static str {
        match self {
            Self::Unclassified => "unclassified",
            Self::Denied(_) => "denied",
            Self::Dial(_, error) => error.reason(),
            Self::Client(error) if error.kind() == io::ErrorKind::ConnectionReset => "client_reset",
            Self::Client(_) => "client_error",
            Self::Origin(error) if error.kind() == io::ErrorKind::ConnectionReset => "origin_reset",
            Self::Origin(_) => "origin_error",
            Self::Idle => "idle_timeout",
            Self::Drained => "drained",
            Self::Revoked(_) => "revoked",
        }
    }

    /// Whether the peers should see a reset: everything but an end in good order.
    pub(super) const fn resets(&self) -> bool {
        !matches!(self, Self::Idle)
    }
}

fn origin_status(error: &io::Error) -> u16 {
    match error.raw_os_error() {
        Some(libc::ECONNRESET) => 444,
        Some(libc::ETIMEDOUT) => 445,
        Some(libc::EHOSTUNREACH) => 446,
        Some(libc::ECONNREFUSED) => 447,
        Some(libc::EPIPE) => 448,
        _ => 520,
    }
}

fn client_status(error: &io::Error) -> u16 {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => 495,
        Some(libc::EHOSTUNREACH) => 496,
        Some(libc::ETIMEDOUT) => 497,
        Some(libc::EPIPE) => 498,
        Some(libc::ECONNRESET) => 499,
        _ => 999,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_has_its_own_codes() {
        let os = io::Error::from_raw_os_error;
        for (code, client, origin) in [
            (libc::ECONNREFUSED, 495, 447),
            (libc::EHOSTUNREACH, 496, 446),
            (libc::ETIMEDOUT, 497, 445),
            (libc::EPIPE, 498, 448),
            (libc::ECONNRESET, 499, 444),
            (libc::EIO, 999, 520),
        ] {
            assert_eq!(Outcome::Failed(Failure::Client(os(code))).status(), client, "{code}");
            assert_eq!(Outcome::Failed(Failure::Origin(os(code))).status(), origin, "{code}");
        }
    }
}
