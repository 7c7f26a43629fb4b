//! Spectrum itself, with a configuration as an operator would write it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::certificates::Certificates;
use super::direct::EmptyXdp;
use super::process::{Process, configuration, first_line};
use super::{RSA_PORT, Running, WORKERS};
use crate::load::tls::Key;
use crate::origin::Service;
use crate::world::{EDGE_DEVICE, ORIGIN_V4, POOL_V4, POOL_V6, POOLS, World};

pub(super) fn version(program: &Path) -> Result<String> {
    first_line(program, "--version")
}

pub(super) fn start(
    world: &World,
    program: &Path,
    relay: &str,
    shield: bool,
    certificates: Option<&Certificates>,
) -> Result<Running> {
    let xdp = if shield { None } else { Some(EmptyXdp::attach(world)?) };
    let file = configuration("spectrum.toml", &(text(relay, shield) + &certificates.map_or_else(String::new, tls)))?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(file);
    let ready = SocketAddr::new(POOL_V4, Service::Echo.port());
    let process = Process::start(world, command, ready)?;
    Ok(Running { addresses: [POOL_V4, POOL_V6], process: Some(process), ends_tls: false, _xdp: xdp })
}

fn text(relay: &str, shield: bool) -> String {
    let xdp_mode = if shield { "native" } else { "off" };
    let [v4_pool, v6_pool] = POOLS;
    let name = Key::Ecdsa.hostname();
    let (first, last) = (Service::Source.port(), Service::Echo.port());
    format!(
        r#"[node]
interfaces = ["{EDGE_DEVICE}"]
xdp_mode = "{xdp_mode}"
instance = "bench"
state_dir = "/run/spectrum-bench/state"
workers = {WORKERS}
drain = "1s"

[edge]
pools = ["{v4_pool}", "{v6_pool}"]

[[zones]]
name = "example.com"

[[applications]]
protocol = "tcp/{first}-{last}"
dns = {{ type = "ADDRESS", name = "{name}" }}
edge_ips = {{ type = "static", ips = ["{POOL_V4}", "{POOL_V6}"] }}
origin_direct = ["tcp://{ORIGIN_V4}:{first}-{last}"]
ip_firewall = true
extensions = {{ splice = "{relay}" }}
"#
    )
}

/// Makes the application before it one of TLS, and adds one with the certificate of an RSA key.
fn tls(certificates: &Certificates) -> String {
    let echo = Service::Echo.port();
    let rsa_name = Key::Rsa.hostname();
    format!(
        r#"tls = "flexible"

[[applications]]
protocol = "tcp/{RSA_PORT}"
dns = {{ type = "ADDRESS", name = "{rsa_name}" }}
edge_ips = {{ type = "static", ips = ["{POOL_V4}", "{POOL_V6}"] }}
origin_direct = ["tcp://{ORIGIN_V4}:{echo}"]
ip_firewall = true
tls = "flexible"

[tls]
certificates = "{directory}"
"#,
        directory = certificates.directory.display(),
    )
}
