//! The names of one application, and the certificates for them.

use std::sync::Arc;

use super::certificates::{Certificates, HostCertificates};
use crate::model::ServerNames;

/// What clients of an application may ask for.
#[derive(Debug)]
pub(super) struct AppNames {
    pub(super) hostname: String,
    /// By what they choose it among others. Empty: they need not.
    sni: ServerNames,
}

impl AppNames {
    pub(super) const fn new(hostname: String, sni: ServerNames) -> Self {
        Self { hostname, sni }
    }

    /// The certificates for a client that asks for `name`, or for none. Of a name of `sni`, its own come before those of the
    /// hostname that are for it, too.
    pub(super) fn certificates<'c>(
        &self,
        all: &'c Certificates,
        name: Option<&str>,
    ) -> Option<&'c Arc<HostCertificates>> {
        let own = || all.of(&self.hostname);
        match name.filter(|name| self.has(name)) {
            Some(name) => all.of(name).or_else(|| own().filter(|own| own.covers(name))),
            None => own(),
        }
    }

    /// Whether a name is neither the application's nor one of its certificates'.
    pub(super) fn is_other(&self, name: &str, certificates: &HostCertificates) -> bool {
        !name.eq_ignore_ascii_case(&self.hostname) && !self.has(name) && !certificates.covers(name)
    }

    /// The first of its names for which there is no certificate.
    pub(super) fn without_certificate(&self, all: &Certificates) -> Option<&str> {
        self.hosts().find(|host| self.certificates(all, Some(host)).is_none())
    }

    fn hosts(&self) -> impl Iterator<Item = &str> {
        own_hosts(&self.hostname, &self.sni)
    }

    fn has(&self, name: &str) -> bool {
        !self.sni.is_empty() && self.sni.closeness(&name.to_ascii_lowercase()).is_some()
    }
}

/// The names that an application needs certificates for: those of `sni`, without which nobody gets to it, or its hostname.
/// Wildcards are left out.
pub fn own_hosts<'n>(hostname: &'n str, sni: &'n ServerNames) -> impl Iterator<Item = &'n str> {
    sni.is_empty().then_some(hostname).into_iter().chain(sni.hosts())
}
