//! TLS of one application towards its clients: what a handshake is done with, and who is refused before it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use rustls::{
    Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, UnixTime},
    server::{ClientHello, ServerSessionMemoryCache, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

#[cfg(feature = "legacy-tls")]
use super::legacy;
use super::{
    AppTickets, Peer, Shared,
    authorities::Authorities,
    certificates::{HostCertificates, Resolver},
    challenge, provider,
};
use crate::model::{AppId, Application, MinTlsVersion};

/// Sessions of TLS 1.2 that are remembered for clients without tickets: a few hundred KB.
const REMEMBERED: usize = 1024;

/// The edge's side of one application.
#[derive(Debug)]
pub struct Edge {
    app: AppId,
    hostname: String,
    min_version: MinTlsVersion,
    client_ca: Option<PathBuf>,
    shared: Shared,
    /// None: the authorities of clients have never been readable.
    built: ArcSwapOption<Built>,
    problem: Mutex<Option<String>>,
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
            hostname: app.hostname.clone(),
            min_version: app.tls.min_version,
            client_ca: app.tls.client_ca.clone(),
            shared: shared.clone(),
            built: ArcSwapOption::empty(),
            problem: Mutex::default(),
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
        let own = certificates.of(&self.hostname).ok_or(Refused::NoCertificate)?;
        // A client without a name gets the certificate of whose address it is.
        if hello.server_name().is_some_and(|name| self.is_other(name, own)) {
            return Err(Refused::WrongName);
        }
        let built = self.built.load();
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
        let built = self.built.load();
        let Some(clients) = built.as_ref().and_then(|built| built.clients.as_ref()) else { return Ok(()) };
        let (leaf, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        clients.verifier.verify_client_cert(leaf, others, UnixTime::now()).map(|_| ())
    }

    /// Whether clients are looked at before their handshake, since OpenSSL has to serve some of them.
    #[cfg(feature = "legacy-tls")]
    pub fn serves_old_clients(&self) -> bool {
        self.min_version == MinTlsVersion::Tls11
    }

    /// A session of OpenSSL for this client. None: it is rustls' to serve, or to refuse.
    #[cfg(feature = "legacy-tls")]
    pub fn legacy(&self, hello: &super::ClientHello) -> Result<Option<legacy::Session>, Refused> {
        let certificates = self.shared.certificates.newest();
        let own = certificates.of(&self.hostname).ok_or(Refused::NoCertificate)?;
        if !self.serves_old_clients() || self.asks_clients() || !legacy::needs(hello, own) {
            return Ok(None);
        }
        let name = hello.server_name.as_deref();
        if name.is_some_and(|name| self.is_other(name, own)) || hello.invalid_server_name {
            return Err(Refused::WrongName);
        }
        let pairs = own.legacy(name, std::time::SystemTime::now());
        match legacy::ssl(pairs.into_iter()).and_then(legacy::Session::new) {
            Ok(session) => Ok(Some(session)),
            Err(error) => {
                log::error!("OpenSSL cannot serve clients of {}: {error}", self.hostname);
                Ok(None)
            }
        }
    }

    /// Whether a name that a client asks for is neither the application's nor one of its certificates'.
    fn is_other(&self, name: &str, own: &HostCertificates) -> bool {
        !name.eq_ignore_ascii_case(&self.hostname) && !own.covers(name)
    }

    /// Whether clients must show who they are.
    pub const fn asks_clients(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Looks whether the authorities of clients have changed. Those before stay where the new ones are no good.
    pub fn refresh(&self) {
        let before = self.built.load();
        let built = self.build(before.as_deref());
        let problem = match built {
            Ok(None) => None,
            Ok(Some(built)) => {
                self.built.store(Some(Arc::new(built)));
                None
            }
            Err(why) if before.is_some() => Some(format!("{why}; those before stay in use")),
            Err(why) => Some(format!("{why}; no client is served")),
        };
        let mut told = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != problem {
            match &problem {
                Some(why) => log::error!("client_ca of {}: {why}", self.hostname),
                None => log::info!("client_ca of {} is readable again", self.hostname),
            }
            *told = problem;
        }
    }

    /// What keeps it from serving, or from serving as it is configured.
    pub fn problems(&self) -> Vec<String> {
        let told = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut problems: Vec<String> = told.map(|why| format!("client_ca: {why}")).into_iter().collect();
        if self.shared.certificates.newest().of(&self.hostname).is_none() {
            let host = &self.hostname;
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
            let resolver = Resolver::new(self.shared.certificates.clone(), self.hostname.clone());
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
