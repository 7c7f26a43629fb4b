//! All certificates as they are between two looks at the files, by hostname.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{chain::Certificate, choose::HostCertificates, names, report, report::CertificateReport};

/// Certificates by hostname; never changes.
#[derive(Debug, Default)]
pub struct Certificates {
    rows: Vec<Row>,
    own: Index,
    /// Of sources that yield.
    yielding: Index,
}

#[derive(Debug, Default)]
struct Index {
    by_file: HashMap<String, Arc<HostCertificates>>,
    /// Wildcards stand under `*.`, of whichever name they are.
    by_name: HashMap<String, Arc<HostCertificates>>,
}

/// What one place has.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) hostname: Option<String>,
    pub(super) path: PathBuf,
    pub(super) certificate: Option<Arc<Certificate>>,
    /// All that is wrong except for what the clock says.
    pub(super) problems: Vec<String>,
}

impl Certificates {
    /// `yielding`: used where the others have nothing.
    pub(super) fn new(mut rows: Vec<Row>, yielding: Vec<Row>) -> Self {
        let (own, index) = (Index::new(&rows), Index::new(&yielding));
        rows.extend(yielding);
        Self { rows, own, yielding: index }
    }

    /// The certificates for an application of this hostname: see `Index::of`.
    pub fn of(&self, hostname: &str) -> Option<&Arc<HostCertificates>> {
        let hostname = names::normal(hostname);
        self.own.of(&hostname).or_else(|| self.yielding.of(&hostname))
    }

    /// Whether there is one for this hostname that is not from a source that yields.
    pub fn has_own(&self, hostname: &str) -> bool {
        self.own.of(&names::normal(hostname)).is_some()
    }

    /// All certificates and all places that have none, with what is wrong with each at this time.
    pub fn report(&self, now: SystemTime) -> Vec<CertificateReport> {
        self.rows.iter().map(|row| row.report(now)).collect()
    }

    /// Those that expire within this time, or have.
    pub fn expiring(&self, now: SystemTime, within: Duration) -> Vec<CertificateReport> {
        let until = now.checked_add(within);
        let expires = |row: &&Row| match (&row.certificate, until) {
            (Some(certificate), Some(until)) => certificate.details.not_after < until,
            // Nothing is known to last forever.
            (certificate, _) => certificate.is_some(),
        };
        self.rows.iter().filter(expires).map(|row| row.report(now)).collect()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

impl Index {
    fn new(rows: &[Row]) -> Self {
        let (mut by_file, mut by_name) = (HashMap::new(), HashMap::new());
        for row in rows {
            let Some(certificate) = &row.certificate else { continue };
            if let Some(host) = &row.hostname {
                add(&mut by_file, host, certificate);
                if host.starts_with("*.") {
                    add(&mut by_name, host, certificate);
                }
            }
            for name in &certificate.details.names {
                add(&mut by_name, name, certificate);
            }
        }
        Self { by_file: shared(by_file), by_name: shared(by_name) }
    }

    /// Those whose file has its name; else those for exactly this
    /// name; else those of the wildcard that covers it. Where the file's name promises what no certificate in it holds,
    /// one that covers the hostname is better.
    fn of(&self, hostname: &str) -> Option<&Arc<HostCertificates>> {
        let by_file = self.by_file.get(hostname);
        by_file
            .filter(|certificates| certificates.covers(hostname))
            .or_else(|| self.by_name.get(hostname))
            .or_else(|| {
                self.by_name
                    .get(&names::wildcard_for(hostname)?)
                    .filter(|wildcard| by_file.is_none() || wildcard.covers(hostname))
            })
            .or(by_file)
    }
}

impl Row {
    pub(super) fn report(&self, now: SystemTime) -> CertificateReport {
        let mut problems = self.problems.clone();
        problems.extend(self.certificate.iter().flat_map(|certificate| report::of_validity(certificate, now)));
        CertificateReport {
            hostname: self.hostname.clone(),
            path: self.path.clone(),
            certificate: self.certificate.as_ref().map(|certificate| certificate.details.clone()),
            problems,
        }
    }
}

fn add(index: &mut HashMap<String, HostCertificates>, name: &str, certificate: &Arc<Certificate>) {
    index.entry(name.to_owned()).or_default().add(certificate);
}

fn shared(index: HashMap<String, HostCertificates>) -> HashMap<String, Arc<HostCertificates>> {
    index.into_iter().map(|(name, certificates)| (name, Arc::new(certificates))).collect()
}
