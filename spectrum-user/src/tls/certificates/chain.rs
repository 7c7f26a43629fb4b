//! A chain (RFC 5246, section 7.4.2): the host's own certificate first, behind each one its issuer's.
//!
//! The first has to be the one that the key fits: which it is meant to be is the file's to say. The order of the others
//! changes nothing that anybody could have meant, so it is put right and told. Links are by name, as clients look for
//! them; signatures are not checked here, since no client would believe this.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    pki_types::CertificateDer,
    sign::{CertifiedKey, SigningKey},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, x509::SubjectPublicKeyInfo};

use super::{
    KeyType,
    describe::{self, Details},
    fault::{Fault, Flaw},
};

/// Certificates in one file.
const MOST: usize = 10;

/// A certificate that can be served.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) details: Details,
    pub(super) issuers: Vec<Issuer>,
    /// The same for OpenSSL. None: it has no use for it.
    #[cfg(feature = "legacy-tls")]
    pub(super) legacy: Option<crate::tls::legacy::Pair>,
}

/// An issuer's certificate in the chain.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

pub(super) fn build(
    chain: &[CertificateDer<'static>],
    key: Arc<dyn SigningKey>,
) -> Result<(Certificate, Vec<Flaw>), Fault> {
    if chain.len() > MOST {
        return Err(Fault::LongChain(chain.len()));
    }
    let parsed = chain.iter().enumerate().map(|(index, der)| parse(index, der)).collect::<Result<Vec<_>, _>>()?;
    let leaf = parsed.first().ok_or(Fault::Empty)?;
    if !fits(&*key, leaf) {
        let other = parsed.iter().position(|other| fits(&*key, other));
        return Err(other.map_or(Fault::Mismatch, |index| Fault::LeafNotFirst(index + 1)));
    }
    let key_type = KeyType::of(leaf).ok_or(Fault::Key)?;
    let (details, mut flaws) = describe::leaf(leaf, chain.first().map_or(&[][..], |der| der), key_type);
    let order = order(&parsed, &mut flaws);
    if order.len() == 1 && !details.self_signed && describe::names_its_issuers_place(leaf) {
        flaws.push(Flaw::NoIntermediate(details.issuer.clone()));
    }
    let issuers = order.iter().skip(1).filter_map(|index| parsed.get(*index)).map(Issuer::of).collect();
    let sent = order.iter().filter_map(|index| chain.get(*index).cloned()).collect();
    let certificate = Certificate {
        certified: Arc::new(CertifiedKey::new(sent, key)),
        details,
        issuers,
        #[cfg(feature = "legacy-tls")]
        legacy: None,
    };
    Ok((certificate, flaws))
}

#[cfg(feature = "legacy-tls")]
impl Certificate {
    /// `key`: in DER. One that OpenSSL does not take is served by rustls alone.
    pub(super) fn know_for_openssl(&mut self, key: &[u8]) {
        // No client of TLS 1.0 or 1.1 checks Ed25519.
        if self.details.key_type != KeyType::Ed25519 {
            self.legacy = crate::tls::legacy::Pair::read(&self.certified.cert, key).ok();
        }
    }
}

fn parse<'a>(index: usize, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Fault> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(Fault::Certificate(index + 1)),
    }
}

/// Whether the key is the certificate's: `CertifiedKey::keys_match`, without that function's dislike of certificates that
/// clients of a house may still take (X.509 version 1, unknown critical extensions), and with parameters left aside, which
/// some issuers leave out for RSA (RFC 3279, section 2.3.1, wants them).
fn fits(key: &dyn SigningKey, certificate: &X509Certificate<'_>) -> bool {
    let theirs = certificate.public_key();
    let Some(public) = key.public_key() else {
        // A key that does not tell: its kind has to do.
        return KeyType::of(certificate).is_some_and(|key_type| key_type.signs_by(key.algorithm()));
    };
    SubjectPublicKeyInfo::from_der(public.as_ref()).is_ok_and(|(_, ours)| {
        ours.algorithm.algorithm == theirs.algorithm.algorithm
            && ours.subject_public_key.data == theirs.subject_public_key.data
    })
}

/// Which certificates are sent, in which order.
fn order(parsed: &[X509Certificate<'_>], flaws: &mut Vec<Flaw>) -> Vec<usize> {
    let issued_by = |of: usize, by: usize| match (parsed.get(of), parsed.get(by)) {
        (Some(of), Some(by)) => of.issuer().as_raw() == by.subject().as_raw(),
        _ => false,
    };
    // The same certificate twice says nothing twice.
    let is_new = |index: &usize| {
        let own = parsed.get(*index).map(X509Certificate::as_raw);
        !parsed.iter().take(*index).any(|before| Some(before.as_raw()) == own)
    };
    let mut rest: Vec<usize> = (1..parsed.len()).filter(is_new).collect();
    let mut order = vec![0];
    // Where each has something before it that it issued, the file's order stands: issuers with two certificates (cross
    // signed) make a chain that no order makes a line.
    let follows =
        |at: usize, index: usize| issued_by(0, index) || rest.iter().take(at).any(|before| issued_by(*before, index));
    if rest.iter().enumerate().all(|(at, index)| follows(at, *index)) {
        order.append(&mut rest);
        return order;
    }
    while let Some(at) = next(&order, &rest, issued_by) {
        order.push(rest.remove(at));
    }
    if !order.is_sorted() {
        flaws.push(Flaw::Order);
    }
    for index in rest {
        let subject = parsed.get(index).map(|stranger| describe::name(stranger.subject())).unwrap_or_default();
        flaws.push(Flaw::Stranger(index + 1, subject));
    }
    order
}

/// The issuer of the last one; else of any.
fn next(order: &[usize], rest: &[usize], issued_by: impl Fn(usize, usize) -> bool) -> Option<usize> {
    order.iter().rev().find_map(|of| rest.iter().position(|by| issued_by(*of, *by)))
}

impl Issuer {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        Self {
            name: describe::name(certificate.subject()),
            not_before: describe::instant(certificate.validity().not_before),
            not_after: describe::instant(certificate.validity().not_after),
        }
    }
}
