//! nginx's stream module.

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

const PROGRAM: &str = "nginx";
/// Debian ships the stream module apart from the program.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(super) fn version() -> Result<String> {
    first_line(Path::new(PROGRAM), "-v")
}

pub(super) fn start(world: &World, certificates: Option<&Certificates>) -> Result<Running> {
    let file = configuration("nginx.conf", &text(certificates))?;
    let xdp = EmptyXdp::attach(world)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(file);
    let ready = SocketAddr::new(PROXY_V4, Service::Echo.port());
    let process = Process::start(world, command, ready)?;
    Ok(Running { addresses: [PROXY_V4, PROXY_V6], process: Some(process), ends_tls: false, _xdp: Some(xdp) })
}

fn text(certificates: Option<&Certificates>) -> String {
    let module = if Path::new(MODULE).exists() { format!("load_module {MODULE};\n") } else { String::new() };
    let descriptors = CONNECTIONS * 2 + 1000;
    let mut text = format!(
        "{module}daemon off;
user root;
pid /run/spectrum-bench/nginx.pid;
error_log stderr crit;
worker_processes {WORKERS};
worker_rlimit_nofile {descriptors};
events {{
    worker_connections {descriptors};
    multi_accept on;
}}
stream {{
    access_log off;
    proxy_buffer_size 64k;
    proxy_timeout 60s;
    proxy_connect_timeout 5s;
    tcp_nodelay on;
"
    );
    for (port, origin_port, key) in ports(certificates.is_some()) {
        let (ssl, settings) = certificates.map_or_else(Default::default, |made| {
            let (certificate, key) = (made.certificate(key), made.key(key));
            let files =
                format!("ssl_certificate {};\n        ssl_certificate_key {};", certificate.display(), key.display());
            (" ssl", format!("        {files}\n        ssl_protocols TLSv1.2 TLSv1.3;\n"))
        });
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "    server {{
        listen {PROXY_V4}:{port}{ssl} reuseport backlog=16384;
        listen [{PROXY_V6}]:{port}{ssl} reuseport backlog=16384;
{settings}        proxy_pass {ORIGIN_V4}:{origin_port};
    }}
"
        );
    }
    text.push_str("}\n");
    text
}
