//! One chain and its key, from the files to what can be served, or to what is wrong and in which of the two.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

use super::{
    chain::{self, Certificate},
    fault::{Fault, Flaw},
    file::{self, Content, Stamp, Unread},
    names, pem,
    source::Place,
};
use crate::tls::{Peer, provider};

/// What a look at both files showed, without reading them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    place: Place,
    chain: Option<Stamp>,
    key: Option<Stamp>,
}

/// What reading them came to.
pub(super) struct Attempt {
    /// Of the bytes, as far as they could be read: the same digest is the same content.
    pub(super) digest: [u8; 32],
    pub(super) outcome: Result<Found, Problem>,
}

pub(super) struct Found {
    pub(super) certificate: Arc<Certificate>,
    pub(super) flaws: Vec<String>,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    path: PathBuf,
    fault: Fault,
}

impl Look {
    pub(super) fn at(place: &Place) -> Self {
        Self {
            place: place.clone(),
            chain: Stamp::of(&place.chain).ok(),
            key: place.key.as_deref().and_then(|key| Stamp::of(key).ok()),
        }
    }

    /// Whether what is read now may become something else without a trace.
    pub(super) fn is_young(&self, now: SystemTime) -> bool {
        self.chain.iter().chain(&self.key).any(|stamp| stamp.is_young(now))
    }
}

/// Reads both.
pub(super) fn read(place: &Place) -> Attempt {
    let mut digest = Sha256::new();
    let outcome = find(place, &mut digest);
    Attempt { digest: digest.finalize().into(), outcome }
}

fn find(place: &Place, digest: &mut Sha256) -> Result<Found, Problem> {
    let in_chain = |fault| Problem { path: place.chain.clone(), fault };
    if place.is_orphan {
        return Err(Problem { path: place.key_wanted.clone(), fault: Fault::ChainMissing(names::shown(&place.chain)) });
    }
    let content = open(&place.chain, digest)?;
    let mut sections = pem::read(&content.bytes, "x509").map_err(in_chain)?;
    let certificates = std::mem::take(&mut sections.certificates);
    if certificates.is_empty() {
        return Err(in_chain(Fault::NoCertificate(sections.told())));
    }
    let chain_holds_key = sections.holds_key();
    let (key, key_stamp) = match &place.key {
        Some(path) => {
            let content = open(path, digest)?;
            let in_key = |fault| Problem { path: path.clone(), fault };
            (pem::read(&content.bytes, "pkey").and_then(pem::Sections::key).map_err(in_key)?, Some(content.stamp))
        }
        None if !chain_holds_key => return Err(in_chain(Fault::KeyMissing(names::shown(&place.key_wanted)))),
        None => (sections.key().map_err(in_chain)?, None),
    };
    let key_path = place.key.as_ref().unwrap_or(&place.chain);
    #[cfg(feature = "legacy-tls")]
    let key_der = zeroize::Zeroizing::new(key.der().secret_der().to_vec());
    let key = provider(Peer::Client)
        .key_provider
        .load_private_key(key.der())
        // The library's text says no more than this one.
        .map_err(|_| Problem { path: key_path.clone(), fault: Fault::Key })?;
    #[cfg_attr(not(feature = "legacy-tls"), expect(unused_mut, reason = "only that feature adds to it"))]
    let (mut certificate, mut flaws) = chain::build(&certificates, key).map_err(in_chain)?;
    #[cfg(feature = "legacy-tls")]
    certificate.know_for_openssl(&key_der);
    flaws.extend(of_name(place, &certificate));
    let keys = [(key_path, key_stamp), (&place.chain, chain_holds_key.then_some(content.stamp))];
    for (path, stamp) in keys {
        if stamp.is_some_and(|stamp| stamp.is_open_to_all()) {
            flaws.push(Flaw::OpenToAll(names::shown(path)));
        }
    }
    Ok(Found { certificate: Arc::new(certificate), flaws: flaws.iter().map(Flaw::to_string).collect() })
}

fn open(path: &Path, digest: &mut Sha256) -> Result<Content, Problem> {
    let content = file::read(path).map_err(|unread| {
        let fault = match unread {
            Unread::Io(error) => Fault::of_io(&error),
            Unread::NoFile => Fault::NoFile,
            Unread::TooLarge => Fault::TooLarge,
            Unread::Changed => Fault::Changing,
        };
        Problem { path: path.to_owned(), fault }
    })?;
    digest.update(content.digest);
    Ok(content)
}

/// Where the file's name says something else than the certificate.
fn of_name(place: &Place, certificate: &Certificate) -> Vec<Flaw> {
    let details = &certificate.details;
    let type_of_name = place.key_type.filter(|key_type| *key_type != details.key_type);
    let is_other = place.promises && !details.names.iter().any(|name| names::covers(name, &place.host));
    let other_type = type_of_name.map(|key_type| Flaw::OtherType(key_type, details.key_type));
    other_type.into_iter().chain(is_other.then(|| Flaw::OtherHost(place.host.clone()))).collect()
}

impl Problem {
    /// Whether another look may find something else though the files seem the same.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self.fault, Fault::Denied(_) | Fault::Unreadable(_) | Fault::Absent | Fault::Changing)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", names::shown(&self.path), self.fault)
    }
}
