//! Several origins in the origin's namespace, told apart by their addresses, and what becomes of a client among them.
#![expect(clippy::unwrap_used, reason = "for tests: one that cannot go on panics, that is its report")]

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{World, edge::Daemon};
use crate::wait;

/// Beside the origin's own address.
pub const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 3));
pub const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 4));

/// Sent as soon as the edge has accepted, before any origin has.
pub const QUESTION: &[u8; 12] = b"who are you?";

/// A world whose origin has two more addresses, and on each a server that says where it was reached.
pub fn world_of_servers(port: u16) -> World {
    let world = World::new();
    world.origin().namespace().ip(&["addr add 203.0.113.3/24 dev eth0", "addr add 203.0.113.4/24 dev eth0"]);
    serve(&world, port);
    world
}

/// A server on this port of all of the origin's addresses.
pub fn serve(world: &World, port: u16) {
    let listener = world.origin().namespace().run(move || TcpListener::bind(("::", port)).unwrap());
    thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            thread::spawn(move || {
                let mut question = [0; QUESTION.len()];
                // Whoever was tried before has not taken a byte of it.
                if client.read_exact(&mut question).is_ok() && question == *QUESTION {
                    let own = SocketAddr::new(client.local_addr().unwrap().ip().to_canonical(), port);
                    drop(client.write_all(format!("{own} ").as_bytes()));
                    drop(client.read_to_end(&mut Vec::new()));
                }
            });
        }
    });
}

/// Where a new connection gets, if anywhere.
pub fn try_reach(world: &World, edge: SocketAddr) -> Option<SocketAddr> {
    String::from_utf8(world.client().try_ask(None, edge, QUESTION).ok()?).ok()?.trim().parse().ok()
}

/// Which origin a new connection reaches.
pub fn reached(world: &World, edge: SocketAddr) -> IpAddr {
    try_reach(world, edge).unwrap_or_else(|| panic!("no origin was reached through {edge}")).ip()
}

/// How often each origin is reached by so many connections.
pub fn shares(world: &World, edge: SocketAddr, connections: usize) -> HashMap<IpAddr, usize> {
    let mut shares = HashMap::new();
    for _ in 0..connections {
        *shares.entry(reached(world, edge)).or_default() += 1;
    }
    shares
}

/// Drops what is sent to a server, or refuses it, and counts the SYNs among it. `verdict` may name a family's own reject.
pub fn deaf(world: &World, address: IpAddr, verdict: &str) {
    let (family, table) = table(address);
    let rule = format!(
        "table {family} {table} {{ chain c {{ type filter hook input priority 0; \
         {family} daddr {address} tcp flags syn counter; {family} daddr {address} {verdict}; }}; }}"
    );
    world.origin().namespace().stdout("nft", &[&rule]);
}

/// How many SYNs came to a deaf server.
pub fn knocks(world: &World, address: IpAddr) -> u64 {
    let (family, table) = table(address);
    let rules = world.origin().namespace().stdout("nft", &["list", "table", family, &table]);
    let (_, counted) = rules.split_once("counter packets ").unwrap();
    counted.split(' ').next().unwrap().parse().unwrap()
}

pub fn hears_again(world: &World, address: IpAddr) {
    let (family, table) = table(address);
    world.origin().namespace().stdout("nft", &["delete", "table", family, &table]);
}

/// Its family, and its name.
fn table(address: IpAddr) -> (&'static str, String) {
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    (family, format!("deaf_{}", address.to_string().replace(['.', ':'], "_")))
}

/// The origins of the first application, as `status` lists them.
pub fn origins(daemon: &Daemon<'_>) -> Vec<Value> {
    let status = daemon.status();
    status.pointer("/daemon/applications/0/origins").and_then(Value::as_array).unwrap().clone()
}

/// Whether each of them lives, in the order of the file.
pub fn await_ups(daemon: &Daemon<'_>, wanted: &[bool]) {
    wait::eventually(&format!("origins that live: {wanted:?}"), || {
        let ups: Vec<bool> = origins(daemon).iter().map(is_up).collect();
        (ups == wanted).then_some(())
    });
}

/// Whether the one at this address lives.
pub fn await_state(daemon: &Daemon<'_>, address: IpAddr, up: bool) {
    let what = format!("{address} is {}", if up { "up" } else { "down" });
    let at_address = |origin: &Value| {
        let of = origin.get("address").and_then(Value::as_str).unwrap();
        of.parse::<SocketAddr>().is_ok_and(|of| of.ip() == address)
    };
    let is_so = || origins(daemon).iter().any(|origin| at_address(origin) && is_up(origin) == up);
    wait::within(Duration::from_secs(90), || is_so().then_some(())).expect(&what);
}

fn is_up(origin: &Value) -> bool {
    origin.get("up").and_then(Value::as_bool).unwrap()
}
