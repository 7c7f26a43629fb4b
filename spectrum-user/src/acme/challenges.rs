//! Answers to what directories ask while an order is open: shared between who orders and who serves the ports.
//!
//! An answer is there for as long as its [`Held`]: an order that ends, in whatever way, takes its answers with it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::http01::{http01, may_begin};
use crate::tls::{Challenged, Http01, Peer, provider};

/// Outstanding challenges, by hostname. Clones share them.
#[derive(Clone, Default)]
pub struct Challenges(Arc<RwLock<HashMap<String, Entry>>>);

struct Entry {
    answer: Answer,
    /// Whose it is: a later order for the same name may have put its own here.
    mark: Arc<()>,
}

enum Answer {
    Certificate(Arc<CertifiedKey>),
    File { token: String, key_authorization: String },
}

/// Keeps an answer there until it is dropped.
pub(super) struct Held {
    challenges: Challenges,
    host: String,
    mark: Arc<()>,
}

impl Challenges {
    /// What to show, alone and under [`ALPN`](super::ALPN), to who asks for this name by TLS-ALPN-01 (RFC 8737).
    pub fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.find(host, |answer| match answer {
            Answer::Certificate(certificate) => Some(Arc::clone(certificate)),
            Answer::File { .. } => None,
        })
    }

    /// What the file of this token says, on this host (HTTP-01: RFC 8555, section 8.3).
    pub fn key_authorization(&self, host: &str, token: &str) -> Option<String> {
        self.find(host, |answer| match answer {
            Answer::File { token: known, key_authorization } if known == token => Some(key_authorization.clone()),
            _ => None,
        })
    }

    /// Whether no order waits to be looked at.
    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Answers TLS-ALPN-01 with a certificate made for this: it carries the SHA-256 of the key authorization.
    pub(super) fn hold_certificate(&self, host: &str, digest: &[u8]) -> Result<Held, String> {
        let certificate = certificate(host, digest)?;
        Ok(self.hold(host, Answer::Certificate(Arc::new(certificate))))
    }

    /// Answers HTTP-01.
    pub(super) fn hold_file(&self, host: &str, token: &str, key_authorization: &str) -> Held {
        let (token, key_authorization) = (token.to_owned(), key_authorization.to_owned());
        self.hold(host, Answer::File { token, key_authorization })
    }

    fn hold(&self, host: &str, answer: Answer) -> Held {
        let (host, mark) = (plain(host), Arc::new(()));
        let entry = Entry { answer, mark: Arc::clone(&mark) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(host.clone(), entry);
        Held { challenges: self.clone(), host, mark }
    }

    fn find<T>(&self, host: &str, choose: impl FnOnce(&Answer) -> Option<T>) -> Option<T> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Nearly always: no host need be folded for it.
        if entries.is_empty() {
            return None;
        }
        entries.get(&plain(host)).and_then(|entry| choose(&entry.answer))
    }
}

impl Challenged for Challenges {
    fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        Self::certificate(self, host)
    }

    fn has_file(&self, is_asked: &dyn Fn(&str) -> bool) -> bool {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().any(|(host, entry)| matches!(entry.answer, Answer::File { .. }) && is_asked(host))
    }

    fn http01(&self, read: &[u8]) -> Http01 {
        http01(read, self)
    }

    fn may_begin_http01(&self, read: &[u8]) -> bool {
        may_begin(read)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut entries = self.challenges.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.get(&self.host).is_some_and(|entry| Arc::ptr_eq(&entry.mark, &self.mark)) {
            entries.remove(&self.host);
        }
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Challenges").field(&entries.len()).finish()
    }
}

/// Names are the same in any case, and with the root's dot (RFC 4343; RFC 1034, section 3.1).
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// RFC 8737, section 3: self-signed, one name, and the extension, which is critical.
fn certificate(host: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    // rcgen panics otherwise.
    if digest.len() != 32 {
        return Err("the digest of a key authorization is not a SHA-256".to_owned());
    }
    let told = |error: rcgen::Error| format!("no certificate can be made for the challenge: {error}");
    let mut params = CertificateParams::new([host.to_owned()]).map_err(told)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(told)?;
    let certificate = params.self_signed(&key).map_err(told)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = provider(Peer::Client).key_provider.load_private_key(private);
    let signer = signer.map_err(|error| format!("the key of a challenge's certificate is no good: {error}"))?;
    // Not `from_der`: it refuses a critical extension that it does not know, and this one is meant for nobody else.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
}

#[cfg(test)]
mod tests {
    use x509_parser::{extensions::GeneralName, parse_x509_certificate};

    use super::*;

    #[test]
    fn an_answer_is_there_while_it_is_held() {
        let challenges = Challenges::default();
        assert_eq!(challenges.key_authorization("a.example", "token"), None);
        let held = challenges.hold_file("a.example", "token", "token.print");
        assert_eq!(challenges.key_authorization("A.Example.", "token"), Some("token.print".to_owned()));
        assert_eq!(challenges.key_authorization("a.example", "other"), None);
        assert_eq!(challenges.key_authorization("b.example", "token"), None);
        assert!(challenges.certificate("a.example").is_none());
        drop(held);
        assert!(challenges.is_empty());
    }

    #[test]
    fn an_order_takes_away_its_own_answer_alone() {
        let challenges = Challenges::default();
        let first = challenges.hold_file("a.example", "one", "one.print");
        let second = challenges.hold_file("a.example", "two", "two.print");
        drop(first);
        assert!(challenges.key_authorization("a.example", "two").is_some());
        drop(second);
        assert!(challenges.is_empty());
    }

    #[test]
    fn the_certificate_is_as_rfc_8737_has_it() {
        let challenges = Challenges::default();
        let _held = challenges.hold_certificate("a.example", &[7; 32]).unwrap();
        let certified = challenges.certificate("a.example").unwrap();
        let (_, certificate) = parse_x509_certificate(&certified.cert[0]).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names, [GeneralName::DNSName("a.example")]);
        let is_identifier = |oid: String| oid == "1.3.6.1.5.5.7.1.31";
        let extension = certificate.extensions().iter().find(|e| is_identifier(e.oid.to_id_string())).unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
        assert!(challenges.hold_certificate("a.example", &[7; 31]).is_err());
        assert!(challenges.hold_certificate("ä.example", &[7; 32]).is_err());
    }
}
