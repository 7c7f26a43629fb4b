//! PEM (RFC 7468) to certificates and keys, and to words when that is not what a file holds.
//!
//! The decoder skips what it does not know, which would hide the file's mistake: so labels are looked at first. Keys are
//! wiped; the decoder's own buffer, of the same characters in base64, is beyond reach and is freed as it is.

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
    pem::{Error, PemObject as _, SectionKind},
};
use zeroize::Zeroizing;

use super::{fault::Fault, names};

/// What is in one file.
#[derive(Default)]
pub(super) struct Sections {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<Key>,
    /// A key that is here and cannot be had.
    pub(super) closed: Option<Fault>,
    /// All labels, once each, for people.
    labels: Vec<String>,
}

/// A private key in DER, wiped when it goes.
pub(super) struct Key {
    kind: SectionKind,
    der: Zeroizing<Vec<u8>>,
}

/// Reads a whole file. `tool` is OpenSSL's command that converts such a file.
pub(super) fn read(bytes: &[u8], tool: &'static str) -> Result<Sections, Fault> {
    // Some editors begin a file with a mark, behind which the decoder would overlook the first BEGIN.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Err(Fault::Empty);
    }
    if let Some(fault) = binary(bytes, tool) {
        return Err(fault);
    }
    let mut sections = Sections { labels: labels(bytes)?, ..Sections::default() };
    if sections.labels.is_empty() {
        return Err(Fault::Garbage);
    }
    sections.closed = closed(bytes, &sections.labels);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = match section {
            Ok(section) => section,
            // An encrypted key of the old form has headers, which are not base64.
            Err(Error::Base64Decode(_)) if sections.closed.is_some() => continue,
            Err(Error::Base64Decode(_)) => return Err(Fault::Base64(sections.told())),
            Err(Error::MissingSectionEnd { .. }) => return Err(Fault::Truncated),
            Err(_) => return Err(Fault::Garbage),
        };
        match kind {
            SectionKind::Certificate => sections.certificates.push(CertificateDer::from(der)),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                sections.keys.push(Key { kind, der: Zeroizing::new(der) });
            }
            _ => {}
        }
    }
    Ok(sections)
}

impl Sections {
    /// `CERTIFICATE, DH PARAMETERS`.
    pub(super) fn told(&self) -> String {
        self.labels.join(", ")
    }

    /// Whether there is a private key, be it one that cannot be had.
    pub(super) fn holds_key(&self) -> bool {
        !self.keys.is_empty() || self.closed.is_some()
    }

    /// The one private key.
    pub(super) fn key(self) -> Result<Key, Fault> {
        let (told, keys) = (self.told(), self.keys.len());
        match (self.closed, keys) {
            (Some(fault), 0) => Err(fault),
            (_, 2..) => Err(Fault::SeveralKeys(keys)),
            _ => self.keys.into_iter().next().ok_or(Fault::NoKey(told)),
        }
    }
}

impl Key {
    /// As the provider takes it, which wipes it again.
    pub(super) fn der(&self) -> PrivateKeyDer<'static> {
        let der = self.der.to_vec();
        match self.kind {
            SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
            SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
            _ => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        }
    }
}

fn binary(bytes: &[u8], tool: &'static str) -> Option<Fault> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Fault::Utf16),
        // PFX: a sequence of a version, which is 3, and more (RFC 7292, section 4).
        [0x30, 0x82, _, _, 2, 1, 3, ..] | [0x30, 0x81, _, 2, 1, 3, ..] | [0x30, 0x80, 2, 1, 3, ..] => {
            Some(Fault::Archive)
        }
        // A sequence whose length is what there is, whatever it holds: keys of Ed25519 are shorter than 128 bytes.
        [0x30, 0x82, high, low, rest @ ..] if rest.len() == usize::from(u16::from_be_bytes([*high, *low])) => {
            Some(Fault::Der(tool))
        }
        [0x30, 0x81, length, rest @ ..] if rest.len() == usize::from(*length) => Some(Fault::Der(tool)),
        [0x30, length, rest @ ..] if rest.len() == usize::from(*length) => Some(Fault::Der(tool)),
        _ => None,
    }
}

/// The labels of all sections. Where two markers share a line the decoder loses a section without a word, so that is an
/// error here: the usual cause is a file without a last line break that another was appended to.
fn labels(bytes: &[u8]) -> Result<Vec<String>, Fault> {
    let mut labels = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let damaged = Fault::Marker(index + 1);
        for line in line.split(|byte| *byte == b'\r') {
            let line = line.trim_ascii_end();
            let markers = occurrences(line, b"-BEGIN ") + occurrences(line, b"-END ");
            if markers == 0 {
                continue;
            }
            let label = line.strip_prefix(b"-----BEGIN ").or_else(|| line.strip_prefix(b"-----END "));
            let label = label.and_then(|label| label.strip_suffix(b"-----"));
            let (1, Some(label)) = (markers, label) else { return Err(damaged) };
            if !label.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" #".contains(byte)) {
                return Err(damaged);
            }
            let label = names::printable(&String::from_utf8_lossy(label));
            if !labels.contains(&label) && labels.len() < 10 {
                labels.push(label);
            }
        }
    }
    Ok(labels)
}

fn occurrences(line: &[u8], what: &[u8]) -> usize {
    line.windows(what.len()).filter(|window| *window == what).count()
}

fn closed(bytes: &[u8], labels: &[String]) -> Option<Fault> {
    let has = |wanted: &str| labels.iter().any(|label| label == wanted);
    if has("ENCRYPTED PRIVATE KEY") || occurrences(bytes, b"\nProc-Type: 4,ENCRYPTED") > 0 {
        Some(Fault::Encrypted)
    } else if has("OPENSSH PRIVATE KEY") {
        Some(Fault::OpenSsh)
    } else {
        None
    }
}
