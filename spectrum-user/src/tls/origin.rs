//! TLS of one application towards its origins: what is asked of them, and what they are shown.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use x509_parser::parse_x509_certificate;

use super::{
    Peer,
    authorities::{self, Authorities},
    certificates::covers,
    danger::Anybody,
    from_files::FromFiles,
    provider,
};
use crate::model::{self, OriginTls, Verify};

/// Sessions that are remembered: one for each server's name and a few tickets of it.
const REMEMBERED: usize = 256;
/// How long a verdict on a certificate is believed: it may expire meanwhile.
const VERDICT_FOR: Duration = Duration::from_secs(30);
/// Certificates that one application's origins have at once; more are judged each time.
const VERDICTS: usize = 64;

/// The origins' side of one application.
#[derive(Debug)]
pub struct Origin {
    verify: Verify,
    application: String,
    name: ServerName<'static>,
    tls: model::Tls,
    built: FromFiles<Built>,
    verdicts: Mutex<Verdicts>,
}

/// By fingerprint: when it was judged, and what is wrong with it.
type Verdicts = HashMap<[u8; 32], (Instant, Option<Fault>)>;

#[derive(Debug)]
struct Built {
    config: Arc<ClientConfig>,
    chain: Arc<Chain>,
    /// Of the files that it was built from.
    digest: [u8; 32],
}

/// What is wrong with an origin's certificate: one word each, for logs and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    SelfSigned,
    Expired,
    NotValidYet,
    WrongName,
    UnknownCa,
    Revoked,
    /// It cannot be read, or may not be used for this.
    Invalid,
}

impl Fault {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfSigned => "origin_certificate_self_signed",
            Self::Expired => "origin_certificate_expired",
            Self::NotValidYet => "origin_certificate_not_valid_yet",
            Self::WrongName => "origin_certificate_wrong_name",
            Self::UnknownCa => "origin_certificate_unknown_ca",
            Self::Revoked => "origin_certificate_revoked",
            Self::Invalid => "origin_certificate_invalid",
        }
    }

    /// What a failed handshake says of the certificate, if it is about that.
    pub fn of(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(error) = error else { return None };
        Some(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotValidYet,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
            CertificateError::UnknownIssuer => Self::UnknownCa,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::Other(OtherError(other)) => {
                other.downcast_ref::<Self>().copied().unwrap_or(Self::Invalid)
            }
            _ => Self::Invalid,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfSigned => "the origin's certificate is signed by itself",
            Self::Expired => "the origin's certificate has expired",
            Self::NotValidYet => "the origin's certificate is not valid yet",
            Self::WrongName => "the origin's certificate is for another name",
            Self::UnknownCa => "the origin's certificate is by an authority that is not trusted",
            Self::Revoked => "the origin's certificate is revoked",
            Self::Invalid => "the origin's certificate cannot be used",
        })
    }
}

impl std::error::Error for Fault {}

impl Origin {
    /// None: origins are spoken to in clear. `name`: what origins are called towards themselves.
    pub fn new(app: &model::Application, name: &str) -> Option<Self> {
        let OriginTls::Encrypt(verify) = app.tls.mode.sides().1 else { return None };
        // Names of the file are names of hosts.
        let name = ServerName::try_from(name.to_owned()).ok()?;
        let origin = Self {
            verify,
            application: app.hostname.clone(),
            name,
            tls: app.tls.clone(),
            built: FromFiles::new(
                format!("TLS to the origins of {}", app.hostname),
                "no connection reaches an origin",
                files(&app.tls),
            ),
            verdicts: Mutex::default(),
        };
        origin.refresh();
        Some(origin)
    }

    /// Who is asked for, and what the handshake is done with. None: a file of it has never been readable.
    pub fn connect(&self) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        Some((Arc::clone(&self.built.newest().as_ref()?.config), self.name.clone()))
    }

    pub const fn verify(&self) -> Verify {
        self.verify
    }

    /// What verification says of a certificate: asked where the handshake did not ask, because nobody verifies or
    /// because a session went on.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Option<Fault> {
        let Some((leaf, others)) = chain.split_first() else { return Some(Fault::Invalid) };
        let fingerprint: [u8; 32] = Sha256::digest(leaf).into();
        let now = Instant::now();
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, verdict)) = verdicts.get(&fingerprint)
            && now.duration_since(*at) < VERDICT_FOR
        {
            return *verdict;
        }
        let built = self.built.newest();
        let Some(built) = built.as_ref() else { return Some(Fault::Invalid) };
        let verdict = built.chain.verify_server_cert(leaf, others, &self.name, &[], UnixTime::now());
        let verdict = verdict.err().map(|error| Fault::of(&error).unwrap_or(Fault::Invalid));
        let before = verdicts.get(&fingerprint).map(|(_, verdict)| *verdict);
        if verdicts.len() >= VERDICTS {
            verdicts.retain(|_, (at, _)| now.duration_since(*at) < VERDICT_FOR);
        }
        if verdicts.len() < VERDICTS {
            verdicts.insert(fingerprint, (now, verdict));
        }
        if self.verify == Verify::DangerousSkip
            && before != Some(verdict)
            && let Some(fault) = verdict
        {
            log::warn!("{}: {fault} (strict would refuse it, full goes on)", self.application);
        }
        verdict
    }

    /// Looks whether the files have changed. What was there before stays where the new is no good.
    pub fn refresh(&self) {
        if self.built.refresh(SystemTime::now(), |before| self.build(before)) {
            self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    pub fn problems(&self) -> Vec<String> {
        self.built.problem().map(|why| format!("TLS to its origins: {why}")).into_iter().collect()
    }

    fn build(&self, before: Option<&Built>) -> Result<Option<Built>, String> {
        let own = self.tls.origin_ca.as_ref().map(|path| Ok::<_, String>((Authorities::read(path)?, path)));
        let own = own.transpose()?;
        let shown = self.tls.origin_identity.as_ref().map(Shown::read).transpose()?;
        let mut digest = Sha256::new();
        digest.update(own.as_ref().map(|(own, _)| own.digest).unwrap_or_default());
        digest.update(shown.as_ref().map(|shown| shown.digest).unwrap_or_default());
        let digest: [u8; 32] = digest.finalize().into();
        if before.is_some_and(|before| before.digest == digest) {
            return Ok(None);
        }
        let mut roots = authorities::system();
        if let Some((own, path)) = &own {
            own.add_to(Arc::make_mut(&mut roots), path)?;
        }
        let chain = Arc::new(Chain::new(roots, own.map(|(own, _)| own.certificates).unwrap_or_default()));
        let provider = provider(Peer::Origin);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self.verify {
            Verify::Chain => builder.dangerous().with_custom_certificate_verifier(Arc::clone(&chain) as _),
            Verify::DangerousSkip => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        };
        let mut config = match shown {
            Some(Shown { chain, key, .. }) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("origin_certificate and origin_key: {error}"))?,
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(REMEMBERED);
        Ok(Some(Built { config: Arc::new(config), chain, digest }))
    }
}

fn files(tls: &model::Tls) -> Vec<PathBuf> {
    let shown = tls.origin_identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
    tls.origin_ca.iter().chain(shown).cloned().collect()
}

/// What origins are shown.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    digest: [u8; 32],
}

impl Shown {
    fn read(identity: &model::Identity) -> Result<Self, String> {
        let chain = Authorities::read(&identity.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&identity.key)
            .map_err(|error| format!("{}: no key in PEM ({error})", identity.key.display()))?;
        let digest = Sha256::new().chain_update(chain.digest).chain_update(key.secret_der()).finalize().into();
        Ok(Self { chain: chain.certificates, key, digest })
    }
}

/// Verifies names, times and chains as browsers do, and knows one's own certificates where they are authorities, too.
#[derive(Debug)]
struct Chain {
    /// None: there is no authority at all.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    /// Those of `origin_ca`.
    own: Vec<CertificateDer<'static>>,
}

impl Chain {
    fn new(roots: Arc<RootCertStore>, own: Vec<CertificateDer<'static>>) -> Self {
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider(Peer::Origin)).build().ok();
        Self { webpki, own }
    }

    /// What `openssl req -x509` makes is an authority and a server's certificate at once, and webpki takes no authority for
    /// a server. An operator who names exactly this one in `origin_ca` means it.
    fn verify_own(leaf: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        let (_, parsed) = parse_x509_certificate(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now > parsed.validity().not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        if now < parsed.validity().not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter()).into_iter().flatten();
        let mut named = names.filter_map(|one| match one {
            x509_parser::extensions::GeneralName::DNSName(one) => Some(*one),
            _ => None,
        });
        let wanted = name.to_str();
        if named.any(|pattern| covers(pattern, &wanted)) {
            Ok(())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }
}

impl ServerCertVerifier for Chain {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.own.iter().any(|own| own == leaf) {
            return Self::verify_own(leaf, name, now).map(|()| ServerCertVerified::assertion());
        }
        let verified = match &self.webpki {
            Some(webpki) => webpki.verify_server_cert(leaf, others, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verified {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if is_self_signed(leaf) =>
            {
                Err(CertificateError::Other(OtherError(Arc::new(Fault::SelfSigned))).into())
            }
            // By an authority that has the name of a trusted one, and another key.
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Anybody(provider(Peer::Origin)).verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Anybody(provider(Peer::Origin)).verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider(Peer::Origin).signature_verification_algorithms.supported_schemes()
    }
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
}
