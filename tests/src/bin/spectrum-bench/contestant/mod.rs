//! What is compared, as data, and how each is started: one file per kind.
//!
//! Every proxy gets two workers, room for the same number of connections, no logging, and the same three ports. Where it
//! ends TLS, it has one more port, with the certificate of an RSA key.

mod certificates;
pub(crate) mod direct;
mod haproxy;
mod nginx;
pub(crate) mod process;
mod spectrum;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::load::tls::{self, Key};
use crate::load::{Duplex, MESSAGE, connect};
use crate::origin::Service;
use crate::world::World;
use certificates::Certificates;
use process::Process;

/// Threads or processes that each proxy may use for traffic.
const WORKERS: usize = 2;
/// Port with the certificate of an RSA key, in front of the echo.
const RSA_PORT: u16 = 9013;
/// Client connections that each proxy must be able to hold.
const CONNECTIONS: usize = 8000;

/// Every port, that of the origin behind it, and whose certificate it shows.
fn ports(end_tls: bool) -> impl Iterator<Item = (u16, u16, Key)> {
    let services = Service::ALL.map(|service| (service.port(), service.port(), Key::Ecdsa));
    services.into_iter().chain(end_tls.then_some((RSA_PORT, Service::Echo.port(), Key::Rsa)))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    kind: Kind,
    /// It ends the clients' TLS.
    ends_tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// No proxy: the edge forwards packets.
    Direct,
    Haproxy(haproxy::Settings),
    Nginx,
    Spectrum {
        program: PathBuf,
        relay: &'static str,
        /// With its XDP programs.
        shield: bool,
    },
}

impl Contestant {
    pub(crate) const DIRECT: &'static str = "direct";
    pub(crate) const NGINX: &'static str = "nginx";
    /// With `option splice-auto` and without, both tuned; and with it, its buffers as they come.
    pub(crate) const HAPROXY: [&'static str; 3] = ["haproxy-splice", "haproxy-copy", "haproxy-default"];

    /// Direct forwarding and the peers, and Spectrum where its program is given.
    pub(crate) fn all(spectrum: Option<&Path>) -> Vec<Self> {
        let mut all = vec![
            Self::plain(Self::DIRECT, Kind::Direct),
            Self::haproxy("haproxy-splice", true, true),
            Self::haproxy("haproxy-copy", false, true),
            Self::haproxy("haproxy-default", true, false),
            Self::plain(Self::NGINX, Kind::Nginx),
        ];
        if let Some(program) = spectrum {
            for (name, relay) in [("spectrum", "auto"), ("spectrum-copy", "copy")] {
                all.push(Self::plain(name, Kind::Spectrum { program: program.to_owned(), relay, shield: true }));
            }
        }
        all
    }

    /// Those of the comparison in which TLS ends at the edge. Nobody splices there. Also Spectrum's proxy alone: the peers
    /// have no shield, and what ours takes of each packet is in nobody's own time.
    pub(crate) fn all_that_end_tls(spectrum: Option<&Path>) -> Vec<Self> {
        let takes_part = |name| !["direct", "haproxy-splice", "spectrum-copy"].contains(&name);
        let all = Self::all(spectrum).into_iter().filter(|contestant| takes_part(contestant.name));
        let alone = spectrum.map(|program| {
            let kind = Kind::Spectrum { program: program.to_owned(), relay: "auto", shield: false };
            Self::plain("spectrum-unshielded", kind)
        });
        all.chain(alone).map(|contestant| Self { ends_tls: true, ..contestant }).collect()
    }

    const fn plain(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, ends_tls: false }
    }

    const fn haproxy(name: &'static str, splice: bool, tuned: bool) -> Self {
        Self::plain(name, Kind::Haproxy(haproxy::Settings { splice, tuned }))
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Spectrum { .. })
    }

    /// What its program says about itself.
    pub(crate) fn version(&self) -> Result<String> {
        match &self.kind {
            Kind::Direct => Ok("kernel forwarding".to_owned()),
            Kind::Haproxy(_) => haproxy::version(),
            Kind::Nginx => nginx::version(),
            Kind::Spectrum { program, .. } => spectrum::version(program),
        }
    }

    /// Starts it and proves that it answers, over IPv4 and IPv6.
    pub(crate) fn start(&self, world: &World) -> Result<Running> {
        let start = || {
            let certificates = if self.ends_tls { Some(Certificates::make()?) } else { None };
            let certificates = certificates.as_ref();
            let running = match &self.kind {
                Kind::Direct => direct::start(world),
                Kind::Haproxy(settings) => haproxy::start(world, *settings, certificates),
                Kind::Nginx => nginx::start(world, certificates),
                Kind::Spectrum { program, relay, shield } => {
                    spectrum::start(world, program, relay, *shield, certificates)
                }
            }?;
            Ok::<_, anyhow::Error>(Running { ends_tls: self.ends_tls, ..running })
        };
        let running = start().with_context(|| format!("start {}", self.name))?;
        let mut ports = vec![(Service::Echo.port(), Key::Ecdsa)];
        if self.ends_tls {
            ports.push((RSA_PORT, Key::Rsa));
        }
        for address in running.addresses {
            for (port, key) in &ports {
                let to = SocketAddr::new(address, *port);
                world
                    .client
                    .run(|| Ok(connect::ask(running.connect(to, *key)?.as_mut(), &[b'v'; MESSAGE])?))
                    .with_context(|| format!("{}: one small request to {to}", self.name))?;
            }
        }
        Ok(running)
    }
}

/// A contestant that answers; it ends when this is dropped.
pub(crate) struct Running {
    addresses: [IpAddr; 2],
    process: Option<Process>,
    ends_tls: bool,
    /// The XDP program in front of it, unless it attached its own.
    _xdp: Option<direct::EmptyXdp>,
}

impl Running {
    /// Where the client reaches a service of the origin.
    pub(crate) fn at(&self, service: Service) -> SocketAddr {
        let [v4, _] = self.addresses;
        SocketAddr::new(v4, service.port())
    }

    /// Where the client reaches the echo of the origin behind the certificate of an RSA key.
    pub(crate) fn at_rsa(&self) -> SocketAddr {
        let [v4, _] = self.addresses;
        SocketAddr::new(v4, RSA_PORT)
    }

    /// Opens a connection to a service, in TLS where it ends that. Must run inside the client's namespace.
    pub(crate) fn open(&self, service: Service) -> Result<Box<dyn Duplex>> {
        self.connect(self.at(service), Key::Ecdsa)
    }

    fn connect(&self, to: SocketAddr, key: Key) -> Result<Box<dyn Duplex>> {
        let failed = || format!("connect to {to}");
        if self.ends_tls {
            return Ok(Box::new(tls::blocking(to, key).with_context(failed)?));
        }
        Ok(Box::new(connect::blocking(to).with_context(failed)?))
    }

    /// Its first process, if it has any.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }
}
