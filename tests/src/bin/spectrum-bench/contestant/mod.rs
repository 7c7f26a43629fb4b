//! What is compared, as data, and how each is started: one file per kind.
//!
//! Every proxy gets two workers, room for the same number of connections, no logging, and the same three ports.

pub(crate) mod direct;
mod haproxy;
mod nginx;
pub(crate) mod process;
mod spectrum;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::load::{MESSAGE, connect};
use crate::origin::Service;
use crate::world::World;
use process::Process;

/// Threads or processes that each proxy may use for traffic.
const WORKERS: usize = 2;
/// Client connections that each proxy must be able to hold.
const CONNECTIONS: usize = 8000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    kind: Kind,
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
            Self { name: Self::DIRECT, kind: Kind::Direct },
            Self::haproxy("haproxy-splice", true, true),
            Self::haproxy("haproxy-copy", false, true),
            Self::haproxy("haproxy-default", true, false),
            Self { name: Self::NGINX, kind: Kind::Nginx },
        ];
        if let Some(program) = spectrum {
            for (name, relay) in [("spectrum", "auto"), ("spectrum-copy", "copy")] {
                all.push(Self { name, kind: Kind::Spectrum { program: program.to_owned(), relay } });
            }
        }
        all
    }

    const fn haproxy(name: &'static str, splice: bool, tuned: bool) -> Self {
        Self { name, kind: Kind::Haproxy(haproxy::Settings { splice, tuned }) }
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
        let start = || match &self.kind {
            Kind::Direct => direct::start(world),
            Kind::Haproxy(settings) => haproxy::start(world, *settings),
            Kind::Nginx => nginx::start(world),
            Kind::Spectrum { program, relay } => spectrum::start(world, program, relay),
        };
        let running = start().with_context(|| format!("start {}", self.name))?;
        for address in running.addresses {
            let to = SocketAddr::new(address, Service::Echo.port());
            world
                .client
                .run(|| {
                    let mut stream = connect::blocking(to)?;
                    connect::ask(&mut stream, &[b'v'; MESSAGE])?;
                    Ok(())
                })
                .with_context(|| format!("{}: one small request to {to}", self.name))?;
        }
        Ok(running)
    }
}

/// A contestant that answers; it ends when this is dropped.
pub(crate) struct Running {
    addresses: [IpAddr; 2],
    process: Option<Process>,
    /// The XDP program in front of it, unless it attached its own.
    _xdp: Option<direct::EmptyXdp>,
}

impl Running {
    /// Where the client reaches a service of the origin.
    pub(crate) fn at(&self, service: Service) -> SocketAddr {
        let [v4, _] = self.addresses;
        SocketAddr::new(v4, service.port())
    }

    /// Its first process, if it has any.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }
}
