//! What a certificate says of itself (RFC 5280): names, days, issuer, and what clients will mind.

use std::{
    collections::HashSet,
    fmt::{self, Write as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::SignatureAlgorithm;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519},
    time::ASN1Time,
    x509::X509Name,
};

use super::{fault::Flaw, names};

/// What signs with a key. In the order in which they are preferred: RSA's signatures cost a server most, and of the others
/// ECDSA's are the ones that all clients check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    Ecdsa,
    Ed25519,
    Rsa,
}

/// What the leaf of a chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    pub key_type: KeyType,
    /// In lower case; wildcards begin with `*.`. Names that can be no host's are left out.
    pub names: Vec<String>,
    pub issuer: String,
    /// Signed with its own key, as far as its names tell.
    pub self_signed: bool,
    pub not_before: SystemTime,
    /// The last second in which it is valid.
    pub not_after: SystemTime,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: String,
}

impl Details {
    /// The day of its end, for people.
    pub fn until(&self) -> String {
        day(self.not_after)
    }
}

impl KeyType {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ecdsa => "ecdsa",
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Ecdsa, Self::Ed25519, Self::Rsa].into_iter().find(|key_type| key_type.word().eq_ignore_ascii_case(word))
    }

    /// Whether a key of this kind signs by the algorithm.
    pub(super) const fn signs_by(self, algorithm: SignatureAlgorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Ecdsa, SignatureAlgorithm::ECDSA)
                | (Self::Ed25519, SignatureAlgorithm::ED25519)
                | (Self::Rsa, SignatureAlgorithm::RSA)
        )
    }

    /// What the certificate's public key is of.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let algorithm = &certificate.public_key().algorithm.algorithm;
        [
            (OID_KEY_TYPE_EC_PUBLIC_KEY, Self::Ecdsa),
            (OID_SIG_ED25519, Self::Ed25519),
            (OID_PKCS1_RSAENCRYPTION, Self::Rsa),
        ]
        .into_iter()
        .find_map(|(oid, key_type)| (oid == *algorithm).then_some(key_type))
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Describes a leaf, and tells what clients will mind.
pub(super) fn leaf(certificate: &X509Certificate<'_>, der: &[u8], key_type: KeyType) -> (Details, Vec<Flaw>) {
    let mut flaws = Vec::new();
    let names = names(certificate, &mut flaws);
    let self_signed = certificate.subject().as_raw() == certificate.issuer().as_raw();
    mind(certificate, self_signed, &mut flaws);
    let details = Details {
        key_type,
        names,
        issuer: name(certificate.issuer()),
        self_signed,
        not_before: instant(certificate.validity().not_before),
        not_after: instant(certificate.validity().not_after),
        fingerprint: fingerprint(der),
    };
    (details, flaws)
}

/// The names that clients look at; the common name only where there are no alternative names (RFC 9525 drops it, and
/// people still have such certificates inside of a house).
fn names(certificate: &X509Certificate<'_>, flaws: &mut Vec<Flaw>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    let mut take = |name: &str| {
        let name = names::normal(name);
        if names::is_plausible(&name) && seen.insert(name.clone()) {
            found.push(name);
        }
    };
    let mut alternatives = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names),
        _ => None,
    });
    if let Some(alternative) = alternatives.next() {
        for name in &alternative.general_names {
            if let GeneralName::DNSName(name) = name {
                take(name);
            }
        }
    } else {
        certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).for_each(&mut take);
        if !found.is_empty() {
            flaws.push(Flaw::CommonNameOnly);
        }
    }
    if found.is_empty() {
        flaws.push(Flaw::Nameless);
    }
    found
}

fn mind(certificate: &X509Certificate<'_>, self_signed: bool, flaws: &mut Vec<Flaw>) {
    // What OpenSSL makes for a trial (`req -x509`) is an authority as well.
    if certificate.is_ca() && !self_signed {
        flaws.push(Flaw::Authority);
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage()
        && !usage.value.any
        && !usage.value.server_auth
    {
        flaws.push(Flaw::NotForServers);
    }
    if certificate.extensions().iter().any(|extension| extension.oid.to_id_string() == TLS_FEATURE) {
        flaws.push(Flaw::MustStaple);
    }
    let signature = certificate.signature_algorithm.algorithm.to_id_string();
    // Nobody checks a signature that a certificate makes of itself.
    if !self_signed && WEAK_SIGNATURES.contains(&signature.as_str()) {
        flaws.push(Flaw::WeakSignature);
    }
}

/// RSA with MD5 and with SHA-1 (RFC 3279, section 2.2.1), ECDSA with SHA-1 (section 2.2.3).
const WEAK_SIGNATURES: [&str; 3] = ["1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];

/// RFC 7633, section 6.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

/// Whether the issuer says where its own certificate is to be had, as those do whose clients are strangers.
pub(super) fn names_its_issuers_place(certificate: &X509Certificate<'_>) -> bool {
    /// id-ad-caIssuers (RFC 5280, section 4.2.2.1).
    const ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
    certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            access.iter().any(|access| access.access_method.to_id_string() == ISSUERS)
        }
        _ => false,
    })
}

/// A distinguished name for people.
pub(super) fn name(name: &X509Name<'_>) -> String {
    names::printable(&name.to_string())
}

pub(super) fn instant(time: ASN1Time) -> SystemTime {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    let instant = if time.timestamp() < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    instant.unwrap_or(UNIX_EPOCH)
}

/// `2026-11-29`, in UTC.
pub(super) fn day(instant: SystemTime) -> String {
    let seconds = match instant.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    };
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "an unknown day".to_owned(), |time| time.date().to_string())
}

/// SHA-256 of a certificate, in hex digits.
pub(in crate::tls) fn fingerprint(der: &[u8]) -> String {
    hexadecimal(&Sha256::digest(der))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
