//! The configuration file: TOML text in, model values or every error with its place out.
//!
//! File shapes never leave here. Deliberately not here: the addresses that dynamic applications get (`state`), and
//! anything that asks the kernel.

mod acme;
mod application;
mod check;
mod diagnostic;
mod edge;
mod edge_ips;
mod extensions;
mod file;
mod findings;
mod geo;
mod health_check;
mod node;
mod origins;
mod proxy_protocol;
mod reader;
mod rule;
mod shield;
mod sni;
mod source;
mod suggest;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod tls;
mod zone;

use std::{collections::HashSet, net::IpAddr, path::Path, sync::Arc};

use toml::de::DeTable;

pub use self::{
    application::Declared,
    diagnostic::{ConfigErrors, Diagnostic, Severity},
    rule::alone as rule,
};
pub(crate) use self::{
    check::host as check_host,
    diagnostic::{Fault, Place},
    findings::Findings,
};
use self::{reader::Table, source::Source};
use crate::model::{AccessRule, Edge, Node, Zone};

/// A file that is right, as far as it can be told without asking the host.
#[derive(Clone, Debug)]
pub struct Config {
    pub node: Node,
    pub edge: Edge,
    /// At least one: a file without zones has the zone `default`.
    pub zones: Vec<Zone>,
    pub applications: Vec<Declared>,
    pub rules: Vec<AccessRule>,
    /// What was understood in another way than it was written.
    pub notes: Vec<Diagnostic>,
    pub(crate) pools: Vec<Place>,
    pub(crate) geo_places: geo::Places,
    pub(crate) source: Arc<Source>,
}

/// Reads and checks a file, also against the addresses of the host that it is for.
pub fn load(path: &Path, host_addresses: &[IpAddr]) -> Result<Config, ConfigErrors> {
    read(&file::read(path)?, &path.display().to_string(), Some(host_addresses))
}

/// Checks a text that errors call `name`.
pub fn parse(text: &str, name: &str) -> Result<Config, ConfigErrors> {
    read(text, name, None)
}

fn read(text: &str, name: &str, host_addresses: Option<&[IpAddr]>) -> Result<Config, ConfigErrors> {
    let source = Arc::new(Source::new(name, text));
    let (tree, broken) = DeTable::parse_recoverable(text);
    if let Some(errors) = syntax(&source, &broken) {
        // What a broken text means is a guess: nothing is said about its values.
        return Err(errors);
    }
    let findings = Findings::new(&source);
    let mut root = Table::root(tree.get_ref(), &findings);
    let node::ReadNode { mut node, udp_fragments, sources } = node::read(&mut root);
    let mut read_edge = edge::read(&mut root);
    read_edge.edge.udp_fragments = udp_fragments;
    let zones = zone::read(&mut root);
    let applications = application::read(&mut root, &zones);
    let (geo, geo_places) = geo::read(&mut root);
    let rules = rule::read(&mut root, &zones, &geo);
    node.geo = geo;
    node.tls = tls::node(&mut root);
    root.later("dns", "remove it, and publish the addresses that `spectrum status` shows");
    root.finish();
    let edge::ReadEdge { edge, pools } = read_edge;
    check::file(&findings, &edge, &applications);
    if let Some(addresses) = host_addresses {
        check::host(&findings, &edge, &pools, &applications, addresses);
        check::sources(&findings, &node.sources, &sources, addresses);
    }
    let notes = findings.finish()?;
    Ok(Config { node, edge, zones: zones.list, applications, rules, notes, pools, geo_places, source })
}

fn syntax(source: &Source, broken: &[toml::de::Error]) -> Option<ConfigErrors> {
    let findings = Findings::new(source);
    let mut lines = HashSet::new();
    for error in broken {
        let place = Place { span: error.span().unwrap_or_default(), key: String::new() };
        // The first of a line is the cause, the others are what the reader makes of it.
        if lines.insert(findings.line(&place)) {
            findings.error(&place, Fault::new(format!("not TOML: {}", error.message())));
        }
    }
    findings.finish().err()
}
