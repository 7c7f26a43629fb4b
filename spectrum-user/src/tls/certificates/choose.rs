//! A host's certificates, and which of them one client gets.

use std::{cmp::Reverse, sync::Arc, time::SystemTime};

use rustls::{SignatureScheme, sign::CertifiedKey};

use super::{KeyType, chain::Certificate, names};
#[cfg(feature = "legacy-tls")]
use crate::tls::legacy::Pair;

/// Certificates for one application: of several key types, and perhaps several of one.
#[derive(Debug, Default)]
pub struct HostCertificates {
    certificates: Vec<Arc<Certificate>>,
}

impl HostCertificates {
    pub(super) fn add(&mut self, certificate: &Arc<Certificate>) {
        // One certificate may be in two sources, or reach a host by its file's name and by its own.
        if !self.certificates.iter().any(|own| own.details.fingerprint == certificate.details.fingerprint) {
            self.certificates.push(Arc::clone(certificate));
        }
    }

    /// Whether any of them is for this name: the name itself, or a wildcard for its first label (RFC 9525, section 6.3).
    /// Case and a last dot say nothing.
    pub fn covers(&self, server_name: &str) -> bool {
        self.certificates.iter().any(|certificate| certificate.covers(server_name))
    }

    /// The certificate for a client that asks for this name (none: it asks for no name) and can check these signatures.
    /// None: it can check none of ours.
    pub fn choose(&self, server_name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.choose_at(server_name, schemes, SystemTime::now())
    }

    /// The same at another time. One that covers the name comes first; then one that is valid; then the key type,
    /// in the order of [`KeyType`]; then the one that expires last.
    pub fn choose_at(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
        now: SystemTime,
    ) -> Option<Arc<CertifiedKey>> {
        let usable = self.certificates.iter().filter(|one| one.certified.key.choose_scheme(schemes).is_some());
        let best = usable.min_by_key(|certificate| certificate.rank(server_name, now));
        best.map(|certificate| Arc::clone(&certificate.certified))
    }
}

#[cfg(feature = "legacy-tls")]
impl HostCertificates {
    pub(in crate::tls) fn has(&self, key_type: KeyType) -> bool {
        self.certificates.iter().any(|certificate| certificate.details.key_type == key_type)
    }

    /// The best one of each key type that old clients can check.
    pub(in crate::tls) fn legacy(&self, server_name: Option<&str>, now: SystemTime) -> Vec<&Pair> {
        let best = |key_type| {
            let usable =
                self.certificates.iter().filter(|one| one.details.key_type == key_type && one.legacy.is_some());
            usable.min_by_key(|certificate| certificate.rank(server_name, now))?.legacy.as_ref()
        };
        [KeyType::Rsa, KeyType::Ecdsa].into_iter().filter_map(best).collect()
    }
}

impl Certificate {
    /// The lowest is the best.
    fn rank<'c>(
        &'c self,
        server_name: Option<&str>,
        now: SystemTime,
    ) -> (bool, bool, KeyType, Reverse<SystemTime>, &'c str) {
        let details = &self.details;
        let covers = server_name.is_none_or(|name| self.covers(name));
        let is_valid = (details.not_before..=details.not_after).contains(&now);
        // The fingerprint, so that all workers and all starts choose the same of two equals.
        (!covers, !is_valid, details.key_type, Reverse(details.not_after), details.fingerprint.as_str())
    }

    fn covers(&self, name: &str) -> bool {
        self.details.names.iter().any(|pattern| names::covers(pattern, name))
    }
}
