//! What rustls asks for a certificate, for one application, from the newest snapshot.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::Certificates;
use crate::tls::names::AppNames;

/// The newest snapshot, for all who have a clone of this.
#[derive(Clone, Debug)]
pub struct Live(Arc<ArcSwap<Certificates>>);

/// The certificates of one application.
#[derive(Clone, Debug)]
pub struct Resolver {
    live: Live,
    names: Arc<AppNames>,
}

impl Live {
    pub fn new(certificates: Arc<Certificates>) -> Self {
        Self(Arc::new(ArcSwap::new(certificates)))
    }

    /// Handshakes that begin after this get certificates of this snapshot.
    pub fn replace(&self, certificates: Arc<Certificates>) {
        self.0.store(certificates);
    }

    pub fn newest(&self) -> Arc<Certificates> {
        self.0.load_full()
    }
}

impl Resolver {
    pub(in crate::tls) const fn new(live: Live, names: Arc<AppNames>) -> Self {
        Self { live, names }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.live.0.load();
        self.names
            .certificates(&certificates, hello.server_name())?
            .choose(hello.server_name(), hello.signature_schemes())
    }
}
