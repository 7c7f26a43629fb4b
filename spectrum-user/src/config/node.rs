//! `[node]`, `[api]`, `[metrics]`, `[events]`, `[shield]`: what is particular to this machine.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    diagnostic::{Fault, Place},
    reader::{Found, Table},
    shield, text,
};
use crate::model::{
    EventSink, Filter, Geo, Instance, Node, NodeTls, PortRange, Shield, Sources, UdpFragments, XdpMode,
};

/// The node, and what belongs to it and stands elsewhere in the model.
pub(super) struct ReadNode {
    pub(super) node: Node,
    pub(super) udp_fragments: UdpFragments,
    /// Where each source address stands.
    pub(super) sources: Vec<Place>,
}

/// Reads the five tables. What could not be used is reported and stands in the result as its default.
pub(super) fn read(root: &mut Table<'_>) -> ReadNode {
    let example = "{ interfaces = [\"eth0\"] }, or a table [node] with that key";
    let table = root.require("node", example, |root, key| root.table(key, "[node]"));
    let nothing = || ReadNode {
        node: default(&Instance::default()),
        udp_fragments: UdpFragments::default(),
        sources: Vec::new(),
    };
    let mut read = table.map_or_else(nothing, read_node);
    let node = &mut read.node;
    if let Some(api) = root.table("api", "[api]")
        && let Some(listen) = read_api(api)
    {
        node.api = listen;
    }
    node.metrics = root.table("metrics", "[metrics]").and_then(read_metrics);
    node.events = root.table("events", "[events]").and_then(read_events);
    node.shield = shield::read(root);
    read
}

fn default(instance: &Instance) -> Node {
    Node {
        filter: Filter::default(),
        instance: instance.clone(),
        state_dir: state_dir(instance),
        workers: 0,
        api: vec![PathBuf::from(format!("/run/spectrum/{instance}.sock"))],
        metrics: None,
        events: None,
        drain: Duration::from_secs(30),
        shield: Shield::default(),
        geo: Geo::default(),
        sources: Sources::default(),
        tls: NodeTls::default(),
    }
}

/// Two instances on one host keep their state apart without being told to.
fn state_dir(instance: &Instance) -> PathBuf {
    let base = Path::new("/var/lib/spectrum");
    if *instance == Instance::default() { base.to_owned() } else { base.join(instance.as_str()) }
}

fn read_node(mut table: Table<'_>) -> ReadNode {
    let instance = table.parsed("instance", instance).map(|found| found.value).unwrap_or_default();
    let mut node = default(&instance);
    let modes = [XdpMode::Auto, XdpMode::Native, XdpMode::Generic, XdpMode::Off].map(|mode| (mode.as_str(), mode));
    let readable = !table.has("xdp_mode");
    let mode = table.choice("xdp_mode", &modes);
    node.filter.mode = mode.as_ref().map(|found| found.value).unwrap_or_default();
    let shielded = node.filter.mode != XdpMode::Off;
    if let Some(found) = table.list("interfaces", shielded.then(no_interface), text::interface) {
        node.filter.interfaces = distinct(&table, found.value);
    } else if !table.has("interfaces") && shielded && (readable || mode.is_some()) {
        table.missing("interfaces", "[\"eth0\"], or xdp_mode = \"off\" to run without the shield");
    }
    if let Some(found) = table.parsed("state_dir", text::absolute_path) {
        node.state_dir = found.value;
    }
    if let Some(found) = table.integer("workers", &(0..MOST_WORKERS + 1)) {
        node.workers = usize::try_from(found.value).unwrap_or_default();
    }
    if let Some(drain) = table.duration("drain", LONGEST_DRAIN) {
        node.drain = drain;
    }
    let fragments = table.choice("udp_fragments", &[("drop", UdpFragments::Drop), ("pass", UdpFragments::Pass)]);
    let (sources, source_places) = read_sources(&mut table);
    node.sources = sources;
    table.later("existing_connections", "remove it");
    table.finish();
    let udp_fragments = fragments.map(|found| found.value).unwrap_or_default();
    ReadNode { node, udp_fragments, sources: source_places }
}

fn instance(value: &str) -> Result<Instance, Fault> {
    value.parse().map_err(|_| {
        Fault::new(format!("`{value}` cannot name an instance")).help("write 1 to 32 letters, digits, `-` or `_`")
    })
}

fn no_interface() -> Fault {
    Fault::new("XDP has no interface to be attached to")
        .help("write interfaces = [\"eth0\"], or xdp_mode = \"off\" to run without the shield")
}

fn distinct(table: &Table<'_>, found: Vec<Found<String>>) -> Vec<String> {
    let mut names = Vec::new();
    for Found { value, place } in found {
        if names.contains(&value) {
            table.findings().error(&place, Fault::new(format!("`{value}` is listed twice")).help("remove one"));
        } else {
            names.push(value);
        }
    }
    names
}

/// What connections to origins come from.
fn read_sources(table: &mut Table<'_>) -> (Sources, Vec<Place>) {
    let addresses =
        table.list("source_addresses", None, |value| {
            let address = text::address(value)?;
            match text::no_host(address) {
                Some(why) => Err(Fault::new(format!("{address} cannot be a source: it is {why}"))
                    .help("write an address of this host")),
                None => Ok(address),
            }
        });
    let addresses = addresses.map(|found| found.value).unwrap_or_default();
    let (addresses, places) = addresses.into_iter().map(|found| (found.value, found.place)).unzip();
    let ports = table.parsed("source_ports", |value| {
        let range = value
            .split_once('-')
            .and_then(|(first, last)| PortRange::new(first.trim().parse().ok()?, last.trim().parse().ok()?).ok());
        range.ok_or_else(|| {
            Fault::new(format!("`{value}` is not a range of ports from 1 to 65535")).help("write \"20000-60999\"")
        })
    });
    (Sources { addresses, ports: ports.map(|found| found.value) }, places)
}

fn read_api(mut table: Table<'_>) -> Option<Vec<PathBuf>> {
    let empty = Fault::new("`spectrum status` and the other commands need a control socket")
        .help("write listen = [\"unix:/run/spectrum/default.sock\"], or remove the key");
    let listen = table.list("listen", Some(empty), listen);
    table.later("token_file", "the API listens on its unix socket only, where file permissions decide");
    table.finish();
    Some(listen?.value.into_iter().map(|found| found.value).collect())
}

fn listen(value: &str) -> Result<PathBuf, Fault> {
    if let Some(path) = value.strip_prefix("unix:") {
        let path = text::absolute_path(path)?;
        if path.as_os_str().len() > LONGEST_SOCKET_PATH {
            let fault = Fault::new(format!("the path of a unix socket has at most {LONGEST_SOCKET_PATH} bytes"));
            return Err(fault.help("write a shorter one"));
        }
        return Ok(path);
    }
    if value.parse::<SocketAddr>().is_ok() {
        return Err(Fault::later("the API over TCP", "write \"unix:/run/spectrum/default.sock\""));
    }
    let fault = Fault::new(format!("`{value}` is nothing to listen on"));
    Err(fault.help("write \"unix:\" and an absolute path: \"unix:/run/spectrum/default.sock\""))
}

fn read_metrics(mut table: Table<'_>) -> Option<SocketAddr> {
    let listen = table.require("listen", "\"127.0.0.1:9464\"", |table, key| {
        table.parsed(key, |value| match value.parse::<SocketAddr>() {
            Ok(listen) if listen.port() != 0 => Ok(listen),
            _ => Err(Fault::new(format!("`{value}` is not an address and a port"))
                .help("write \"127.0.0.1:9464\" or \"[::1]:9464\"")),
        })
    });
    table.finish();
    listen.map(|found| found.value)
}

fn read_events(mut table: Table<'_>) -> Option<EventSink> {
    let file = table.require("file", "\"stdout\", or an absolute path", |table, key| {
        table.parsed(key, |value| match value {
            "stdout" => Ok(EventSink::Stdout),
            path => text::absolute_path(path)
                .map(EventSink::File)
                .map_err(|fault| fault.help("write \"stdout\" or a path from `/` on")),
        })
    });
    table.finish();
    file.map(|found| found.value)
}

const MOST_WORKERS: u64 = 1024;
const LONGEST_DRAIN: Duration = Duration::from_hours(24);
/// `sun_path` has 108 bytes, the last of them zero (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;
