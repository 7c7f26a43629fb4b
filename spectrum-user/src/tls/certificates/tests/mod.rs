//! Certificates made for a test, in files as people have them.

mod choosing;
mod notices;
mod pairs;
mod reading;
mod replacing;
mod resolving;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm};
use rustls::{
    SignatureScheme,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::{CertificateReport, Refreshed, Source, Store};

const DAY: Duration = Duration::from_hours(24);

/// A time at which no file of the test is young.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_mins(1)
}

/// A certificate with its key.
struct Made {
    chain: String,
    key: String,
}

/// Valid for `days` from now; negative: since so many days no longer.
fn params(names: &[&str], days: i64) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    let end = OffsetDateTime::now_utc() + time::Duration::days(days);
    params.not_before = end - time::Duration::days(400);
    params.not_after = end;
    params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
    params
}

fn made_by(algorithm: &'static SignatureAlgorithm, params: &CertificateParams) -> Made {
    let key = KeyPair::generate_for(algorithm).unwrap();
    Made { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn made(names: &[&str], days: i64) -> Made {
    made_by(&rcgen::PKCS_ECDSA_P256_SHA256, &params(names, days))
}

/// An authority, to issue by.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(name: &str, by: Option<&Authority>, days: i64) -> Authority {
    let mut params = params(&[], days);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = match by {
        Some(by) => params.signed_by(&key, &by.issuer).unwrap().pem(),
        None => params.self_signed(&key).unwrap().pem(),
    };
    Authority { pem, issuer: Issuer::new(params, key) }
}

fn issued(params: &CertificateParams, by: &Authority) -> Made {
    let key = KeyPair::generate().unwrap();
    Made { chain: params.signed_by(&key, &by.issuer).unwrap().pem(), key: key.serialize_pem() }
}

/// A directory of certificates.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        write(&path, text);
        path
    }

    fn pair(&self, host: &str, made: &Made) {
        self.write(&format!("{host}.pem"), &made.chain);
        self.write(&format!("{host}.key"), &made.key);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Opened while its files are young: they may be replaced at once, within one tick of the kernel's clock.
    fn store(&self) -> Store {
        Store::open(vec![self.directory.path().to_owned().into()], SystemTime::now()).0
    }

    fn report(&self) -> Vec<CertificateReport> {
        report(self.directory.path())
    }

    /// The problems of the one certificate, or of the one place where it should be.
    fn problems(&self) -> Vec<String> {
        let [report] = <[_; 1]>::try_from(self.report()).unwrap();
        report.problems
    }

    /// The one problem of the one place, which has no certificate.
    fn fault(&self) -> String {
        let [report] = <[_; 1]>::try_from(self.report()).unwrap();
        assert_eq!(report.certificate, None, "{:?}", report.problems);
        let [problem] = <[_; 1]>::try_from(report.problems).unwrap();
        problem
    }
}

fn report(path: &Path) -> Vec<CertificateReport> {
    Store::open(vec![Source::from(path.to_owned())], later()).1.report(SystemTime::now())
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Looks twice: what is bad is told at the second look.
fn look_twice(store: &mut Store) -> Option<Refreshed> {
    assert!(store.refresh(SystemTime::now()).is_none(), "it may be over at the next look");
    store.refresh(SystemTime::now())
}

/// The fingerprint of what is served for a host.
fn served(store: &Store, host: &str) -> Option<String> {
    let everything = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
    let key = store.newest().of(host)?.choose(Some(host), &everything)?;
    Some(fingerprint(&key.cert[0]))
}

fn fingerprint(der: &[u8]) -> String {
    format!("{:x}", Sha256::digest(der))
}

impl Made {
    fn fingerprint(&self) -> String {
        fingerprint(&CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap())
    }
}
