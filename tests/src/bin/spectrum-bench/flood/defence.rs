//! Who stands between the flood and the one listener: Spectrum's proxy serves behind all of them, with its own filter or
//! without.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::field::{FLOOD_DEVICE, Field};
use super::lane::nft;
use crate::bpf::XDP_PASS;
use crate::contestant::direct::EmptyXdp;
use crate::contestant::process::{Process, configuration};
use crate::origin::Service;
use crate::world::{EDGE_DEVICE, ORIGIN_V4, POOL_V4, POOLS};

/// SYNs from outside are not tracked and answered by synproxy, which opens the connection itself once they are proven.
const SYNPROXY: &str = "table ip bench {
    chain early { type filter hook prerouting priority raw; iifname { \"edge0\", \"flood0\" } tcp dport 9003 tcp flags syn notrack; }
    chain guard { type filter hook input priority filter;
        tcp dport 9003 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
        tcp dport 9003 ct state invalid drop; }
}";
const NOTHING: &str = "flush ruleset";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defence {
    /// `syn_cookies = "auto"`: nothing is switched on before the flood.
    Spectrum,
    /// `net.ipv4.tcp_syncookies`: never, when the queue is full, always.
    Kernel(u8),
    Synproxy,
}

impl Defence {
    pub(super) const ALL: [Self; 5] =
        [Self::Spectrum, Self::Kernel(0), Self::Kernel(1), Self::Kernel(2), Self::Synproxy];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Spectrum => "spectrum",
            Self::Kernel(0) => "kernel, no cookies",
            Self::Kernel(1) => "kernel cookies, when full",
            Self::Kernel(_) => "kernel cookies, always",
            Self::Synproxy => "nft synproxy",
        }
    }

    /// Starts it with its listener; all of it ends when the answer is dropped.
    pub(super) fn start<'a>(self, field: &'a Field<'a>, program: &Path) -> Result<Standing<'a>> {
        let edge = &field.world.edge;
        let cookies = if let Self::Kernel(cookies) = self { cookies } else { 1 };
        edge.sysctl("net/ipv4/tcp_syncookies", &cookies.to_string())?;
        let mut empty = Vec::new();
        if self != Self::Spectrum {
            for device in [EDGE_DEVICE, FLOOD_DEVICE] {
                empty.push(EmptyXdp::attach_to(edge, device, XDP_PASS)?);
            }
        }
        if self == Self::Synproxy {
            nft(edge, SYNPROXY)?;
            edge.sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
        }
        let mut standing =
            Standing { field, at: SocketAddr::new(POOL_V4, Service::Echo.port()), process: None, _empty: empty };
        standing.process = Some(serve(field, program, self == Self::Spectrum, standing.at).context(self.name())?);
        Ok(standing)
    }
}

/// A defence that works, and where the client finds what is behind it.
pub(super) struct Standing<'a> {
    field: &'a Field<'a>,
    pub(super) at: SocketAddr,
    process: Option<Process>,
    _empty: Vec<EmptyXdp>,
}

impl Standing<'_> {
    pub(super) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        drop(self.process.take());
        // Nothing but what a defence has set up is in there.
        if let Err(error) = nft(&self.field.world.edge, NOTHING) {
            eprintln!("{error:#}");
        }
    }
}

fn serve(field: &Field<'_>, program: &Path, filter: bool, ready: SocketAddr) -> Result<Process> {
    let file = config(filter)?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(file);
    Process::start(field.world, command, ready)
}

fn config(filter: bool) -> Result<PathBuf> {
    let [v4_pool, _] = POOLS;
    let node = if filter {
        format!("interfaces = [\"{EDGE_DEVICE}\", \"{FLOOD_DEVICE}\"]\nxdp_mode = \"native\"")
    } else {
        "xdp_mode = \"off\"".to_owned()
    };
    let rules = if filter {
        "[[access_rules]]\nmode = \"block\"\nconfiguration = { target = \"ip_range\", value = \"11.0.0.0/8\" }"
    } else {
        ""
    };
    let (first, last) = (Service::Source.port(), Service::Echo.port());
    let text = format!(
        r#"[node]
{node}
instance = "bench"
state_dir = "/run/spectrum-bench/state"
workers = 2
drain = "1s"

[edge]
pools = ["{v4_pool}"]

[[zones]]
name = "example.com"

[[applications]]
protocol = "tcp/{first}-{last}"
dns = {{ type = "ADDRESS", name = "bench.example.com" }}
edge_ips = {{ type = "static", ips = ["{POOL_V4}"] }}
origin_direct = ["tcp://{ORIGIN_V4}:{first}-{last}"]
ip_firewall = {filter}
{rules}
"#
    );
    configuration("spectrum-floods.toml", &text)
}
