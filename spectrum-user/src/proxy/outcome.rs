//! How a connection ended, and the product's status code for it: decided in one place.

use std::{io, time::Duration};

use super::{By, OriginAddr, dial::DialError, headcount::Reached, tls::ClientTlsError};
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
    #[error("the application, or this client, has as many connections as it may")]
    Crowded(Reached),
    #[error("no origin accepted")]
    Dial(Option<OriginAddr>, #[source] DialError),
    #[error(transparent)]
    Handshake(ClientTlsError),
    /// Before it is known who the client is.
    #[error("this client has as many handshakes under way as it may, or the node has")]
    Handshakes(Reached),
    #[error("the handshake was the oldest when there was no room for another")]
    Shed,
    #[error("a directory has looked at the answer to its challenge")]
    Challenge,
    /// Where nothing but challenges is answered.
    #[error("the client asks for no challenge, and nothing else is answered here")]
    NoChallenge,
    #[error("no request within {0:?} where challenges are answered")]
    ChallengeLate(Duration),
    #[error("the client's TLS broke: {0}")]
    ClientTls(rustls::Error),
    #[error("the origin's TLS broke: {0}")]
    OriginTls(rustls::Error),
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
            // The proxy ends these in an orderly way; `reason` tells them apart.
            Self::Closed | Self::Failed(Failure::Idle | Failure::Challenge) => 200,
            Self::Failed(Failure::Denied(_) | Failure::Revoked(_)) => 403,
            Self::Failed(Failure::Dial(_, error)) => error.status(),
            Self::Failed(Failure::Handshake(error)) => error.status(),
            Self::Failed(Failure::Handshakes(_) | Failure::Shed) => 443,
            Self::Failed(Failure::ClientTls(_)) => 490,
            Self::Failed(Failure::OriginTls(_)) => 520,
            Self::Failed(Failure::Origin(error)) => origin_status(error),
            Self::Failed(Failure::Client(error)) => client_status(error),
            Self::Aborted { panicking: true } => 500,
            Self::Failed(
                Failure::Unclassified
                | Failure::Crowded(_)
                | Failure::NoChallenge
                | Failure::ChallengeLate(_)
                | Failure::Drained,
            )
            | Self::Aborted { panicking: false } => 999,
        }
    }

    /// Whether the client should see an end, and not a reset.
    pub(super) const fn is_orderly(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Failed(failure) => !failure.resets_client(),
            Self::Aborted { .. } => false,
        }
    }

    pub(super) fn event(&self) -> EventKind {
        match self {
            Self::Failed(
                Failure::Denied(_)
                | Failure::Revoked(_)
                | Failure::Crowded(_)
                | Failure::NoChallenge
                | Failure::ChallengeLate(_),
            ) => EventKind::ClientFiltered,
            Self::Failed(Failure::Handshake(_) | Failure::Handshakes(_) | Failure::Shed | Failure::ClientTls(_)) => {
                EventKind::TlsError
            }
            Self::Failed(Failure::Dial(_, DialError::Unresolved(_))) => EventKind::ResolveOrigin,
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
            Self::Crowded(Reached::All) => "max_connections",
            Self::Crowded(Reached::PerClient) => "max_connections_per_ip",
            Self::Dial(_, error) => error.reason(),
            Self::Handshake(error) => error.reason(),
            Self::Handshakes(Reached::All) => "max_handshakes",
            Self::Handshakes(Reached::PerClient) => "max_handshakes_per_ip",
            Self::Shed => "handshake_shed",
            Self::Challenge => "acme_challenge",
            Self::NoChallenge => "no_challenge",
            Self::ChallengeLate(_) => "challenge_timeout",
            Self::ClientTls(_) => "client_tls_error",
            Self::OriginTls(_) => "origin_tls_error",
            Self::Client(error) if error.kind() == io::ErrorKind::ConnectionReset => "client_reset",
            Self::Client(_) => "client_error",
            Self::Origin(error) if error.kind() == io::ErrorKind::ConnectionReset => "origin_reset",
            Self::Origin(_) => "origin_error",
            Self::Idle => "idle_timeout",
            Self::Drained => "drained",
            Self::Revoked(_) => "revoked",
        }
    }

    /// Whether the client should see a reset: everything but an end in good order, or one that TLS has told of.
    pub(super) const fn resets_client(&self) -> bool {
        use ClientTlsError::{Failed, Refused, TooLong};
        !matches!(
            self,
            Self::Idle
                | Self::Challenge
                | Self::NoChallenge
                | Self::ClientTls(_)
                | Self::Handshake(Refused(_) | Failed(_) | TooLong)
        )
    }

    /// The same for the origin.
    pub(super) const fn resets_origin(&self) -> bool {
        !matches!(self, Self::Idle | Self::OriginTls(_))
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
    use crate::proxy::tls::OriginTlsError;

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

    #[test]
    fn what_is_counted_by_its_reason_has_a_place() {
        use crate::{
            telemetry::{DIAL_ERRORS, TLS_ERRORS},
            tls::{Fault, Refused},
        };
        let late = Duration::from_secs(1);
        let broken = || io::Error::from_raw_os_error(libc::EPIPE);
        let other = || rustls::Error::General(String::new());
        for failure in [
            Failure::Handshake(Refused::WrongName.into()),
            Failure::Handshake(Refused::NoCertificate.into()),
            Failure::Handshake(Refused::NoAuthorities.into()),
            Failure::Handshake(Refused::NothingInCommon.into()),
            Failure::Handshake(Refused::NoChallenge.into()),
            Failure::Handshake(ClientTlsError::Late(late)),
            Failure::Handshake(ClientTlsError::TooLong),
            Failure::Handshake(ClientTlsError::Failed(other())),
            Failure::Handshake(ClientTlsError::Failed(rustls::Error::NoCertificatesPresented)),
            Failure::Handshake(ClientTlsError::Failed(rustls::CertificateError::Expired.into())),
            Failure::Handshake(ClientTlsError::Failed(rustls::InvalidMessage::InvalidContentType.into())),
            Failure::Handshake(ClientTlsError::Failed(rustls::PeerIncompatible::NoCipherSuitesInCommon.into())),
            Failure::Handshake(ClientTlsError::Broken(broken())),
            Failure::Handshakes(Reached::All),
            Failure::Handshakes(Reached::PerClient),
            Failure::Shed,
            Failure::ClientTls(other()),
        ] {
            let outcome = Outcome::Failed(failure);
            assert!(TLS_ERRORS.contains(&(outcome.status(), outcome.reason())), "{outcome:?}");
            assert_eq!(outcome.event(), EventKind::TlsError);
        }
        let faults = [
            Fault::SelfSigned,
            Fault::Expired,
            Fault::NotValidYet,
            Fault::WrongName,
            Fault::UnknownCa,
            Fault::Revoked,
            Fault::Invalid,
        ];
        let others = [
            OriginTlsError::Late(late),
            OriginTlsError::Configuration,
            OriginTlsError::TooLong,
            OriginTlsError::Failed(other()),
            OriginTlsError::Failed(rustls::InvalidMessage::InvalidContentType.into()),
            OriginTlsError::Failed(rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure)),
            OriginTlsError::Broken(broken()),
        ];
        for error in faults.map(OriginTlsError::Certificate).into_iter().chain(others) {
            let error = DialError::Tls(error);
            assert!(DIAL_ERRORS.contains(&(error.status(), error.reason())), "{error:?}");
        }
    }
}
