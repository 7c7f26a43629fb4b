//! Whom a certificate may be by: PEM files of authorities, and those that the system trusts.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};

/// The largest file of authorities: all that browsers trust take 250 KB.
const LARGEST: u64 = 4 << 20;
/// How long the system's are believed to be what they were.
const SYSTEM_FOR: Duration = Duration::from_hours(1);

/// What a file says.
#[derive(Clone, Debug)]
pub(super) struct Authorities {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// SHA-256 of the file.
    pub(super) digest: [u8; 32],
}

impl Authorities {
    /// Reads a file of at least one authority. Errors say what is wrong, and with which file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let told = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text));
        read.map_err(|error| told(&error))?;
        if text.len() as u64 > LARGEST {
            return Err(told(&format_args!("it is larger than {} MiB", LARGEST >> 20)));
        }
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| told(&format_args!("it is not PEM to its end ({error})")))?;
        if certificates.is_empty() {
            return Err(told(&"it holds no certificate in PEM"));
        }
        Ok(Self { certificates, digest: Sha256::digest(&text).into() })
    }

    /// Adds them to others. Each of them must be one that can vouch for somebody.
    pub(super) fn add_to(&self, roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
        for (index, certificate) in self.certificates.iter().enumerate() {
            roots
                .add(certificate.clone())
                .map_err(|error| format!("{}: certificate {} cannot be used: {error}", path.display(), index + 1))?;
        }
        Ok(())
    }
}

/// The system's authorities, as far as they can be read.
pub(super) fn system() -> Arc<RootCertStore> {
    static READ: Mutex<Option<(Instant, Arc<RootCertStore>)>> = Mutex::new(None);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, roots)) = &*read
        && at.elapsed() < SYSTEM_FOR
    {
        return Arc::clone(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!("authorities of the system: {error}");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let roots = Arc::new(roots);
    *read = Some((Instant::now(), Arc::clone(&roots)));
    roots
}
