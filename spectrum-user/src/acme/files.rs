//! Certificates and keys as files: readable for nobody else from their first byte on, and always a pair.
//!
//! Who polls the folder may read between two renames: then the new key stands beside the old chain for a moment, which
//! the certificate store holds for not yet written. What a crash leaves so is put right at the next start.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::{
    state::document::{self, ReplaceError},
    tls::{Peer, provider},
};

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Life {
    pub(super) fn length(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }
}

/// Both as PEM.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Makes a folder, and those above it, for the owner alone.
pub(super) fn make_folder(folder: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("make {}: {error}", folder.display()))
}

/// Puts a pair in the place of the one before, or leaves that one there.
pub(super) fn write(folder: &Path, host: &str, pair: &Pair) -> Result<(), String> {
    make_folder(folder)?;
    let (chain, key) = places(folder, host);
    let told = |ReplaceError { step, path, cause }| format!("{step} {}: {cause}", path.display());
    // Both are on the disk before either has its name: a full disk never parts them.
    document::stage(&key, pair.key.as_bytes(), document::SECRET).map_err(told)?;
    document::stage(&chain, pair.chain.as_bytes(), document::SECRET).map_err(told)?;
    document::settle(&key).map_err(told)?;
    document::settle(&chain).map_err(told)
}

/// The life of the certificate that is there, if it can be used.
pub(super) fn read(folder: &Path, host: &str) -> Result<Option<Life>, String> {
    let (chain_path, key_path) = places(folder, host);
    let (Some(chain), Some(key)) = (text(&chain_path)?, text(&key_path)?) else {
        return if finish(&chain_path, &key_path, host) { read(folder, host) } else { Ok(None) };
    };
    match examine(&Pair { chain, key }, host) {
        Ok(life) => Ok(Some(life)),
        Err(_) if finish(&chain_path, &key_path, host) => read(folder, host),
        Err(why) => Err(format!("{}: {why}", chain_path.display())),
    }
}

/// Gives a chain its name that a crash parted from its key. Whether it did.
fn finish(chain: &Path, key: &Path, host: &str) -> bool {
    let staged = text(&document::staged(chain)).ok().flatten();
    let (Some(staged), Ok(Some(key))) = (staged, text(key)) else { return false };
    examine(&Pair { chain: staged, key }, host).is_ok() && document::settle(chain).is_ok()
}

fn text(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// A host's name is a file's name: [`super::schedule::impossible`] lets no other through.
fn places(folder: &Path, host: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{host}.pem")), folder.join(format!("{host}.key")))
}

/// Whether the key is the certificate's, and the certificate the host's; and then, when it is good.
pub(super) fn examine(pair: &Pair, host: &str) -> Result<Life, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("the chain is no PEM: {error}"))?;
    let leaf = chain.first().cloned().ok_or("there is no certificate in the chain")?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|error| format!("no key: {error}"))?;
    let certified = CertifiedKey::from_der(chain, key, &provider(Peer::Client));
    certified.map_err(|error| format!("key and certificate do not fit: {error}"))?;
    let (_, leaf) = parse_x509_certificate(&leaf).map_err(|error| format!("this is no certificate: {error}"))?;
    let names = leaf.subject_alternative_name().ok().flatten();
    let is_host =
        |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case(host));
    if !names.is_some_and(|names| names.value.general_names.iter().any(is_host)) {
        return Err(format!("the certificate is not for {host}"));
    }
    let time = |time: x509_parser::time::ASN1Time| {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
    };
    let validity = leaf.validity();
    let life = Life { not_before: time(validity.not_before), not_after: time(validity.not_after) };
    if life.length().is_zero() { Err("the certificate ends before it begins".to_owned()) } else { Ok(life) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn pair(host: &str) -> Pair {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        Pair { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    #[test]
    fn a_pair_is_the_owners_alone_and_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("acme/certificates");
        assert_eq!(read(&folder, "a.example"), Ok(None));
        write(&folder, "a.example", &pair("a.example")).unwrap();
        assert!(read(&folder, "a.example").unwrap().is_some());
        for name in ["a.example.pem", "a.example.key"] {
            assert_eq!(fs::metadata(folder.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn what_does_not_fit_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        write(folder, "a.example", &pair("b.example")).unwrap();
        assert!(read(folder, "a.example").is_err_and(|why| why.contains("not for a.example")));
        let (one, other) = (pair("a.example"), pair("a.example"));
        write(folder, "a.example", &Pair { chain: one.chain, key: other.key }).unwrap();
        assert!(read(folder, "a.example").is_err_and(|why| why.contains("do not fit")));
        fs::write(folder.join("a.example.pem"), "").unwrap();
        assert!(read(folder, "a.example").is_err());
    }

    #[test]
    fn a_crash_between_the_two_names_parts_no_pair() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        write(folder, "a.example", &pair("a.example")).unwrap();
        let new = pair("a.example");
        let (chain, key) = places(folder, "a.example");
        document::stage(&key, new.key.as_bytes(), document::SECRET).unwrap();
        document::stage(&chain, new.chain.as_bytes(), document::SECRET).unwrap();
        assert!(read(folder, "a.example").unwrap().is_some(), "the old pair");
        document::settle(&key).unwrap();
        assert!(read(folder, "a.example").unwrap().is_some(), "the new one");
        assert_eq!(fs::read_to_string(chain).unwrap(), new.chain);
    }
}
