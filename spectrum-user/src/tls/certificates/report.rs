//! What is told of one certificate or place, for status, metrics and events.

use std::{fmt, path::PathBuf, time::SystemTime};

use super::{
    chain::Certificate,
    describe::{self, Details},
    fault, names,
};

/// One certificate, or a place where there should be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateReport {
    /// The hostname in the file's name; none where this is about a source as a whole.
    pub hostname: Option<String>,
    /// The chain's file, or the source.
    pub path: PathBuf,
    /// What is served; none where nothing could be read yet.
    pub certificate: Option<Details>,
    /// What is wrong, each with what to do; no text holds key material.
    pub problems: Vec<String>,
}

/// One line for people.
impl fmt::Display for CertificateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", names::shown(&self.path))?;
        if let Some(certificate) = &self.certificate {
            let until = describe::day(certificate.not_after);
            write!(f, " for {} until {until}", certificate.names.join(", "))?;
        }
        if !self.problems.is_empty() {
            write!(f, " {}", self.problems.join("; "))?;
        }
        Ok(())
    }
}

/// What the clock says against a certificate and its issuers' in the chain.
pub(super) fn of_validity(certificate: &Certificate, now: SystemTime) -> Vec<String> {
    let leaf = &certificate.details;
    let issuers = certificate.issuers.iter().filter_map(|issuer| {
        let which = format!("the issuer's certificate in the chain ({})", issuer.name);
        fault::of_validity(&which, issuer.not_before, issuer.not_after, now)
    });
    fault::of_validity("it", leaf.not_before, leaf.not_after, now).into_iter().chain(issuers).collect()
}
