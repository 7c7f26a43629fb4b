//! What a client says first, before anybody answers: who serves it may depend on that, and why nobody does.
//!
//! Deliberately not here: the deadline, which is the one of every handshake (`accept`).

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::{
    accept::ClientTlsError,
    farewell::{MISSING_EXTENSION, PROTOCOL_VERSION, RECORD_OVERFLOW, UNEXPECTED_MESSAGE},
    wire::Wire,
};
use crate::tls::{
    Look,
    hello::{self, Version, Why},
};

/// A hello with a post-quantum key share has about 1800 bytes: they are read at once.
const USUAL: usize = 2 << 10;

/// The first bytes, up to where it is clear who speaks.
pub(super) async fn look(client: &TcpStream) -> Result<(Vec<u8>, Look), ClientTlsError> {
    let mut wire = Wire::new(client, hello::LONGEST);
    let mut bytes = Vec::with_capacity(USUAL);
    loop {
        let left = hello::LONGEST.saturating_sub(bytes.len()) as u64;
        // At an end nothing follows: the look stays as it is, and what it means is the next reader's to say.
        let read = (&mut wire).take(left).read_buf(&mut bytes).await?;
        let look = hello::look(&bytes);
        if read == 0 || look != Look::More {
            return Ok((bytes, look));
        }
    }
}

/// The alert for a client that is refused, where the standards ask for one and rustls may have another: it misses
/// signature algorithms before it looks at the version, takes what is missing for nothing in common, and a record that
/// is none for one that cannot be read. Whether it is refused is not said here. `least`: the lowest version of rustls'.
pub(crate) fn refusal(look: &Look, least: Version) -> Option<u8> {
    match look {
        // RFC 5246, appendix E.1; RFC 8446, section 4.2.1.
        Look::Hello(hello) if !hello.versions.iter().any(|version| is_spoken(*version, least)) => {
            Some(PROTOCOL_VERSION)
        }
        // RFC 8446, section 9.2.
        Look::Hello(hello) if hello.lacks_extensions => Some(MISSING_EXTENSION),
        // RFC 8446, section 5.1.
        Look::NotTls(Why::LongRecord) => Some(RECORD_OVERFLOW),
        Look::NotTls(Why::Kind(_) | Why::EmptyRecord | Why::Interrupted(_) | Why::Message(_)) => {
            Some(UNEXPECTED_MESSAGE)
        }
        Look::NotTls(Why::RecordVersion(_)) => Some(PROTOCOL_VERSION),
        Look::NotTls(Why::TooLong | Why::Malformed(_)) | Look::Hello(_) | Look::More => None,
    }
}

fn is_spoken(version: Version, least: Version) -> bool {
    (least..=Version::TLS1_3).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::{super::farewell::*, *};

    /// A hello of this version with these extensions that say nothing, but for the list of versions.
    fn hello(version: u16, versions: &[u16], extensions: &[u16]) -> Look {
        let mut all: Vec<u8> = extensions.iter().flat_map(|kind| [kind.to_be_bytes(), [0, 0]]).flatten().collect();
        if !versions.is_empty() {
            let length = u8::try_from(2 * versions.len()).unwrap();
            all.extend([0, 43, 0, length + 1, length]);
            all.extend(versions.iter().flat_map(|version| version.to_be_bytes()));
        }
        let mut body = [&version.to_be_bytes()[..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
        if !all.is_empty() {
            body.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
            body.extend(all);
        }
        let length = u8::try_from(body.len()).unwrap();
        hello::look(&[&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat())
    }

    const GROUPS: u16 = 10;
    const SIGNATURES: u16 = 13;
    const OLD_KEY: u16 = 41;
    const SHARE: u16 = 51;
    const NEW: &[u16] = &[0x0304];
    const BOTH: &[u16] = &[0x0304, 0x0303];

    #[test]
    fn a_version_that_nobody_speaks_is_why() {
        for (version, versions, least, alert) in [
            (0x0301, &[][..], Version::TLS1_2, Some(PROTOCOL_VERSION)),
            (0x0302, &[], Version::TLS1_2, Some(PROTOCOL_VERSION)),
            (0x0303, &[], Version::TLS1_2, None),
            (0x0303, &[], Version::TLS1_3, Some(PROTOCOL_VERSION)),
            // Without a list it is TLS 1.2 at most.
            (0x0304, &[], Version::TLS1_3, Some(PROTOCOL_VERSION)),
            (0x0303, &[0x0302, 0x0301], Version::TLS1_2, Some(PROTOCOL_VERSION)),
            (0x0303, &[0x0303], Version::TLS1_3, Some(PROTOCOL_VERSION)),
            // A version of a later time, alone and not.
            (0x0303, &[0x0305], Version::TLS1_2, Some(PROTOCOL_VERSION)),
            (0x0303, &[0x0305, 0x0303], Version::TLS1_2, None),
        ] {
            assert_eq!(refusal(&hello(version, versions, &[]), least), alert, "{version:#x} {versions:x?} {least}");
        }
    }

    #[test]
    fn an_offer_of_tls_1_3_has_all_that_belongs_to_it() {
        for (versions, extensions, alert) in [
            (NEW, &[GROUPS, SIGNATURES, SHARE][..], None),
            (NEW, &[SIGNATURES, SHARE], Some(MISSING_EXTENSION)),
            (NEW, &[GROUPS, SHARE], Some(MISSING_EXTENSION)),
            (NEW, &[GROUPS, SIGNATURES], Some(MISSING_EXTENSION)),
            (NEW, &[SIGNATURES], Some(MISSING_EXTENSION)),
            (NEW, &[], Some(MISSING_EXTENSION)),
            // TLS 1.2 beside it is no excuse.
            (BOTH, &[GROUPS, SIGNATURES], Some(MISSING_EXTENSION)),
            (BOTH, &[GROUPS, SIGNATURES, SHARE], None),
            // With a key from before signatures are not needed, nor is another key.
            (NEW, &[GROUPS, SHARE, OLD_KEY], None),
            (NEW, &[OLD_KEY], None),
            (NEW, &[GROUPS, OLD_KEY], Some(MISSING_EXTENSION)),
            (NEW, &[SIGNATURES, SHARE, OLD_KEY], Some(MISSING_EXTENSION)),
            // TLS 1.2 asks for none of them.
            (&[0x0303], &[], None),
        ] {
            let look = hello(0x0303, versions, extensions);
            assert_eq!(refusal(&look, Version::TLS1_2), alert, "{versions:x?} {extensions:?}");
        }
    }

    #[test]
    fn what_is_no_hello_is_named() {
        for (bytes, alert) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(UNEXPECTED_MESSAGE)),
            (&[0x63, 3, 1, 0, 1, 0], Some(UNEXPECTED_MESSAGE)),
            (&[0x16, 3, 1, 0, 9, 2], Some(UNEXPECTED_MESSAGE)),
            (&[0x16, 3, 1, 0xff, 0xff], Some(RECORD_OVERFLOW)),
            (&[0x16, 3, 1, 0, 0], Some(UNEXPECTED_MESSAGE)),
            (&[0x16, 9], Some(PROTOCOL_VERSION)),
            (&[0x16, 3, 1, 0, 9, 1, 0xff, 0xff, 0xff], None),
            (&[0x16, 3, 1], None),
            (&[], None),
        ] {
            assert_eq!(refusal(&hello::look(bytes), Version::TLS1_2), alert, "{bytes:x?}");
        }
    }
}
