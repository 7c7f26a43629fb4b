//! The certificates that all contestants show: of an ECDSA key, and of an RSA one, signed by themselves.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};

use super::process::DIRECTORY;
use crate::load::tls::Key;

/// Files with a certificate each, under the names that Spectrum looks for.
pub(super) struct Certificates {
    pub(super) directory: PathBuf,
}

impl Certificates {
    /// Makes them, unless a contestant before had them made.
    pub(super) fn make() -> Result<Self> {
        let made = Self { directory: Path::new(DIRECTORY).join("certificates") };
        if made.directory.exists() {
            return Ok(made);
        }
        fs::create_dir_all(&made.directory)?;
        for kind in [Key::Ecdsa, Key::Rsa] {
            let key = match kind {
                Key::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
                Key::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            }
            .context("make a key")?;
            let certificate = CertificateParams::new(vec![kind.hostname().to_owned()])?.self_signed(&key)?;
            write(&made.certificate(kind), &certificate.pem())?;
            write(&made.key(kind), &key.serialize_pem())?;
            write(&made.both(kind), &(certificate.pem() + &key.serialize_pem()))?;
        }
        Ok(made)
    }

    pub(super) fn certificate(&self, kind: Key) -> PathBuf {
        self.directory.join(format!("{}.pem", kind.hostname()))
    }

    pub(super) fn key(&self, kind: Key) -> PathBuf {
        self.directory.join(format!("{}.key", kind.hostname()))
    }

    /// One file with certificate and key, which HAProxy wants; not among those that Spectrum reads.
    pub(super) fn both(&self, kind: Key) -> PathBuf {
        self.directory.with_file_name(format!("{}.both", kind.hostname()))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}
