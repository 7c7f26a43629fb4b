//! HAProxy in `mode tcp`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::certificates::Certificates;
use super::direct::EmptyXdp;
use super::process::{Process, configuration, first_line};
use super::{CONNECTIONS, Running, WORKERS, ports};
use crate::origin::Service;
use crate::world::{ORIGIN_V4, PROXY_V4, PROXY_V6, World};

/// Buffers like nginx gets here, and pipes as large as the kernel lets anyone have: with its defaults of 16 KiB and
/// 64 KiB HAProxy takes up to twice the processor time per byte.
const TUNING: &str = "tune.bufsize 65536
    tune.pipesize 1048576";

const PROGRAM: &str = "haproxy";
/// Two descriptors each: more than ever carry bytes at once here, and within the limit of open files.
const PIPES: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) splice: bool,
    /// With [`TUNING`].
    pub(super) tuned: bool,
}

pub(super) fn version() -> Result<String> {
    first_line(Path::new(PROGRAM), "-v")
}

pub(super) fn start(world: &World, settings: Settings, certificates: Option<&Certificates>) -> Result<Running> {
    let file = configuration("haproxy.cfg", &text(settings, certificates))?;
    let xdp = EmptyXdp::attach(world)?;
    let mut command = Command::new(PROGRAM);
    command.args(["-db", "-f"]).arg(file);
    let ready = SocketAddr::new(PROXY_V4, Service::Echo.port());
    let process = Process::start(world, command, ready)?;
    Ok(Running { addresses: [PROXY_V4, PROXY_V6], process: Some(process), ends_tls: false, _xdp: Some(xdp) })
}

fn text(settings: Settings, certificates: Option<&Certificates>) -> String {
    let tune = if settings.tuned { TUNING } else { "" };
    let option = if settings.splice { "option splice-auto" } else { "no option splice-auto" };
    let mut text = format!(
        "global
    nbthread {WORKERS}
    maxconn {CONNECTIONS}
    maxpipes {PIPES}
    {tune}
defaults
    mode tcp
    maxconn {CONNECTIONS}
    backlog 16384
    {option}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"
    );
    for (port, origin_port, key) in ports(certificates.is_some()) {
        let tls = certificates.map_or_else(String::new, |made| {
            // It would agree on P-256 alone where it is not told.
            format!(" ssl crt {} ssl-min-ver TLSv1.2 curves X25519:P-256", made.both(key).display())
        });
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "listen port{port}
    bind {PROXY_V4}:{port}{tls}
    bind [{PROXY_V6}]:{port}{tls}
    server origin {ORIGIN_V4}:{origin_port}
"
        );
    }
    text
}
