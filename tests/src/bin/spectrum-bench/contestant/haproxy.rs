//! HAProxy in `mode tcp`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::direct::EmptyXdp;
use super::process::{Process, configuration, first_line};
use super::{CONNECTIONS, Running, WORKERS};
use crate::origin::Service;
use crate::world::{ORIGIN_V4, PROXY_V4, PROXY_V6, World};

const PROGRAM: &str = "haproxy";
/// Two descriptors each: more than ever carry bytes at once here, and within the limit of open files.
const PIPES: usize = 1000;

pub(super) fn version() -> Result<String> {
    first_line(Path::new(PROGRAM), "-v")
}

pub(super) fn start(world: &World, splice: bool) -> Result<Running> {
    let file = configuration("haproxy.cfg", &text(splice))?;
    let xdp = EmptyXdp::attach(world)?;
    let mut command = Command::new(PROGRAM);
    command.args(["-db", "-f"]).arg(file);
    let ready = SocketAddr::new(PROXY_V4, Service::Echo.port());
    let process = Process::start(world, command, ready)?;
    Ok(Running { addresses: [PROXY_V4, PROXY_V6], process: Some(process), _xdp: Some(xdp) })
}

fn text(splice: bool) -> String {
    let option = if splice { "option splice-auto" } else { "no option splice-auto" };
    let mut text = format!(
        "global
    nbthread {WORKERS}
    maxconn {CONNECTIONS}
    maxpipes {PIPES}
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
    for service in Service::ALL {
        let port = service.port();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "listen port{port}
    bind {PROXY_V4}:{port}
    bind [{PROXY_V6}]:{port}
    server origin {ORIGIN_V4}:{port}
"
        );
    }
    text
}
