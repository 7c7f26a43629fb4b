//! A certificate and its key as OpenSSL has them.

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    ssl::SslRef,
    x509::X509,
};
use rustls::pki_types::CertificateDer;

/// OpenSSL wipes the key when the last one who has it lets it go.
#[derive(Debug)]
pub(in crate::tls) struct Pair {
    chain: Vec<X509>,
    key: PKey<Private>,
}

impl Pair {
    /// `key`: in DER of any kind. The chain is in the order that it is sent in.
    pub(in crate::tls) fn read(chain: &[CertificateDer<'_>], key: &[u8]) -> Result<Self, ErrorStack> {
        let chain = chain.iter().map(|certificate| X509::from_der(certificate)).collect::<Result<_, _>>()?;
        Ok(Self { chain, key: PKey::private_key_from_der(key)? })
    }

    pub(super) fn show(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        let Some((leaf, issuers)) = self.chain.split_first() else { return Ok(()) };
        ssl.set_certificate(leaf)?;
        ssl.set_private_key(&self.key)?;
        issuers.iter().try_for_each(|issuer| ssl.add_chain_cert(issuer.clone()))
    }
}
