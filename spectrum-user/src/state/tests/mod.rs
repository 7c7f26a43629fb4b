//! Giving out addresses, and keeping them.

mod allocation;
mod keeping;
mod properties;

use super::*;
use crate::config;

const NODE: &str = "[node]\ninterfaces = [\"eth0\"]\n";

/// An application on a hostname; `edge` is a connectivity or a static address.
fn app(name: &str, port: u16, edge: &str) -> String {
    let (kind, edge) = match edge {
        "all" | "ipv4" | "ipv6" => ("CNAME", format!("type = \"dynamic\", connectivity = \"{edge}\"")),
        address => ("ADDRESS", format!("type = \"static\", ips = [\"{address}\"]")),
    };
    format!(
        "[[applications]]\nprotocol = \"tcp/{port}\"\ndns = {{ type = \"{kind}\", name = \"{name}\" }}\n\
         edge_ips = {{ {edge} }}\norigin_direct = [\"tcp://192.0.2.1:22\"]\n"
    )
}

fn config(pools: &str, apps: &[String]) -> Config {
    let text = format!("{NODE}[edge]\npools = [{pools}]\n{}", apps.concat());
    config::parse(&text, "spectrum.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn addresses(desired: &DesiredState, application: usize) -> Vec<String> {
    desired.applications[application].addresses.iter().map(ToString::to_string).collect()
}
