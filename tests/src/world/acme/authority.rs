//! The authority: its key, its own certificate, and those that it signs.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use spectrum_user::tls::{Peer, provider};
use time::OffsetDateTime;

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    root: String,
    pub(super) tls: Arc<ServerConfig>,
}

impl Authority {
    /// `address`: where its directory is.
    pub(super) fn new(address: IpAddr) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the tests' authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([address.to_string()]).expect("an address is a name");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(provider(Peer::Client));
        let tls = tls.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let tls = tls.with_single_cert(vec![certificate.der().clone()], key).expect("they fit");
        Self { root: issuer.pem(), issuer, tls: Arc::new(tls) }
    }

    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// A chain in PEM, for a signing request that must be for this name alone. The request's signature is checked.
    pub(super) fn sign(&self, request: &[u8], host: &str, life: Duration, ahead: Duration) -> Result<String, String> {
        let request = CertificateSigningRequestParams::from_der(&request.to_vec().into());
        let mut request = request.map_err(|error| format!("the signing request: {error}"))?;
        let names: Vec<String> = request.params.subject_alt_names.iter().map(name).collect();
        if names != [host] {
            return Err(format!("the signing request is for {names:?}, the order for {host}"));
        }
        request.params.not_before = OffsetDateTime::now_utc() + ahead;
        request.params.not_after = request.params.not_before + life;
        request.params.use_authority_key_identifier_extension = true;
        let certificate = request.signed_by(&self.issuer).map_err(|error| error.to_string())?;
        Ok(format!("{}{}", certificate.pem(), self.root))
    }
}

fn name(name: &SanType) -> String {
    match name {
        SanType::DnsName(name) => name.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}
