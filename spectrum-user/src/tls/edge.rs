//! TLS of one application towards its clients: what a handshake is done with, and who is refused before it.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use rustls::{
    Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, UnixTime},
    server::{ClientHello, ServerSessionMemoryCache, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

#[cfg(feature = "legacy-tls")]
use super::legacy;
use super::{
    AppTickets, Peer, Shared, authorities::Authorities, certificates::Resolver, challenge, from_files::FromFiles,
    hello::Version, names::AppNames, provider,
};
use crate::model::{AppId, Application, MinTlsVersion};

/// Sessions of TLS 1.2 that are remembered for clients without tickets: a few hundred KB.
const REMEMBERED: usize = 1024;

/// The edge's side of one application.
#[derive(Debug)]
pub struct Edge {
    app: AppId,
    names: Arc<AppNames>,
    min_version: MinTlsVersion,
    client_ca: Option<PathBuf>,
    shared: Shared,
    /// None: the authorities of clients have never been readable.
    built: FromFiles<Built>,
}

/// What handshakes are done with as long as no file changes.
#[derive(Debug)]
struct Built {
    chacha_first: Arc<ServerConfig>,
    aes_first: Arc<ServerConfig>,
    clients: Option<Clients>,
}

/// Whom clients must be vouched for by.
#[derive(Clone, Debug)]
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Of the file.
    digest: [u8; 32],
}

/// Why no handshake is done with a client that began one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It asks for a name that none of the application's certificates is for.
    #[error("the client asks for another name")]
    WrongName,
    #[error("the application has no certificate")]
    NoCertificate,
    #[error("the authorities for clients cannot be read")]
    NoAuthorities,
    /// None of its suites is ours, or it can verify none of the application's certificates.
    #[error("the client and the edge have nothing in common")]
    NothingInCommon,
    /// Of a port where nothing but challenges is answered.
    #[error("the client asks for no challenge where nothing else is answered")]
    NoChallenge,
}

impl Edge {
    pub fn new(app: &Application, shared: &Shared) -> Self {
        let edge = Self {
            app: app.id,
            names: Arc::new(AppNames::new(app.hostname.clone(), app.sni.clone())),
            min_version: app.tls.min_version,
            client_ca: app.tls.client_ca.clone(),
            shared: shared.clone(),
            built: FromFiles::new(
                format!("client_ca of {}", app.hostname),
                "no client is served",
                app.tls.client_ca.iter().cloned().collect(),
            ),
        };
        edge.refresh();
        edge
    }

    /// What this client's handshake is done with. A session that agrees on [`ALPN`](super::ALPN) is a directory's that looks
    /// at a challenge, and no client's.
    pub fn config(&self, hello: &ClientHello<'_>) -> Result<Arc<ServerConfig>, Refused> {
        // Of all hostnames: where this application has port 443, others may have none.
        if let Some(challenges) = self.shared.challenges.as_ref().filter(|_| challenge::is_asked(hello)) {
            return challenge::answer_challenge(&**challenges, hello);
        }
        let certificates = self.shared.certificates.newest();
        let own = self.names.certificates(&certificates, hello.server_name()).ok_or(Refused::NoCertificate)?;
        // A client without a name gets the certificate of whose address it is.
        if hello.server_name().is_some_and(|name| self.names.is_other(name, own)) {
            return Err(Refused::WrongName);
        }
        let built = self.built.newest();
        let built = built.as_ref().ok_or(Refused::NoAuthorities)?;
        let ours = &built.aes_first.crypto_provider().cipher_suites;
        if !ours.iter().any(|suite| hello.cipher_suites().contains(&suite.suite()))
            || own.choose(hello.server_name(), hello.signature_schemes()).is_none()
        {
            return Err(Refused::NothingInCommon);
        }
        Ok(Arc::clone(if prefers_aes(hello) { &built.aes_first } else { &built.chacha_first }))
    }

    /// What is wrong with a client's certificate now: asked where a session went on, which brings the certificate of its first
    /// handshake along.
    pub fn verify_again(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let built = self.built.newest();
        let Some(clients) = built.as_ref().and_then(|built| built.clients.as_ref()) else { return Ok(()) };
        let (leaf, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        clients.verifier.verify_client_cert(leaf, others, UnixTime::now()).map(|_| ())
    }

    /// Whether clients are looked at before their handshake, since OpenSSL has to serve some of them.
    #[cfg(feature = "legacy-tls")]
    pub fn serves_old_clients(&self) -> bool {
        self.min_version == MinTlsVersion::Tls11
    }

    /// The lowest version that rustls serves clients in.
    pub const fn least_version(&self) -> Version {
        match self.min_version {
            MinTlsVersion::Tls11 | MinTlsVersion::Tls12 => Version::TLS1_2,
            MinTlsVersion::Tls13 => Version::TLS1_3,
        }
    }

    /// A session of OpenSSL for this client. None: it is rustls' to serve, or to refuse.
    #[cfg(feature = "legacy-tls")]
    pub fn legacy(&self, hello: &super::ClientHello) -> Result<Option<legacy::Session>, Refused> {
        let certificates = self.shared.certificates.newest();
        let name = hello.server_name.as_deref();
        let own = self.names.certificates(&certificates, name).ok_or(Refused::NoCertificate)?;
        if !self.serves_old_clients() || self.asks_clients() || !legacy::needs(hello, own) {
            return Ok(None);
        }
        if name.is_some_and(|name| self.names.is_other(name, own)) || hello.invalid_server_name {
            return Err(Refused::WrongName);
        }
        let pairs = own.legacy(name, SystemTime::now());
        match legacy::ssl(pairs.into_iter()).and_then(legacy::Session::new) {
            Ok(session) => Ok(Some(session)),
            Err(error) => {
                log::error!("OpenSSL cannot serve clients of {}: {error}", self.names.hostname);
                Ok(None)
            }
        }
    }

    /// Whether clients must show who they are.
    pub const fn asks_clients(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Looks whether the authorities of clients have changed. Those before stay where the new ones are no good.
    pub fn refresh(&self) {
        self.built.refresh(SystemTime::now(), |before| self.build(before));
    }

    /// What keeps it from serving, or from serving as it is configured.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> =
            self.built.problem().map(|why| format!("client_ca: {why}")).into_iter().collect();
        if let Some(host) = self.names.without_certificate(&self.shared.certificates.newest()) {
            problems.push(match self.shared.challenges {
                Some(_) => format!("no certificate for {host} yet: its clients are turned away"),
                None => format!(
                    "no certificate for {host}: its clients are turned away. Put {host}.pem and {host}.key into a directory of \
                     `certificates` under [tls]"
                ),
            });
        }
        problems
    }

    /// None: nothing has changed.
    fn build(&self, before: Option<&Built>) -> Result<Option<Built>, String> {
        let Some(path) = &self.client_ca else {
            return match before {
                Some(_) => Ok(None),
                None => self.build_with(None).map(Some),
            };
        };
        let authorities = Authorities::read(path)?;
        if before.and_then(|before| before.clients.as_ref()).is_some_and(|known| known.digest == authorities.digest) {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        authorities.add_to(&mut roots, path)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider(Peer::Client))
            .build()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        self.build_with(Some(Clients { verifier, digest: authorities.digest })).map(Some)
    }

    fn build_with(&self, clients: Option<Clients>) -> Result<Built, String> {
        let digest = clients.as_ref().map(|clients| clients.digest);
        // A session of one application, or one that other authorities let in, does not go on here.
        let mut context = self.app.to_string().into_bytes();
        context.extend_from_slice(&digest.unwrap_or_default());
        let tickets = Arc::new(AppTickets::new(Arc::clone(&self.shared.tickets), context));
        let sessions = ServerSessionMemoryCache::new(REMEMBERED);
        let config = |peer| {
            let builder = ServerConfig::builder_with_provider(provider(peer))
                .with_protocol_versions(self.versions())
                .map_err(|error| error.to_string())?;
            let builder = match &clients {
                Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.verifier)),
                None => builder.with_no_client_auth(),
            };
            let resolver = Resolver::new(self.shared.certificates.clone(), Arc::clone(&self.names));
            let mut config = builder.with_cert_resolver(Arc::new(resolver));
            config.ignore_client_order = true;
            config.ticketer = Arc::clone(&tickets) as _;
            config.session_storage = Arc::clone(&sessions) as _;
            Ok::<_, String>(Arc::new(config))
        };
        let (chacha_first, aes_first) = (config(Peer::Client)?, config(Peer::ClientWithAes)?);
        Ok(Built { chacha_first, aes_first, clients })
    }

    const fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        static NEW: [&SupportedProtocolVersion; 1] = [&TLS13];
        match self.min_version {
            MinTlsVersion::Tls11 | MinTlsVersion::Tls12 => &BOTH,
            MinTlsVersion::Tls13 => &NEW,
        }
    }
}

/// Whether the client names AES-GCM before ChaCha20: then it has fast AES.
fn prefers_aes(hello: &ClientHello<'_>) -> bool {
    let fast = hello.cipher_suites().iter().find_map(|suite| {
        let name = suite.as_str()?;
        if name.contains("CHACHA20") { Some(false) } else { name.contains("_GCM_").then_some(true) }
    });
    fast.unwrap_or(false)
}
