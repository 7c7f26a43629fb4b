//! Rules that the daemon makes by itself: a client that hammers, a flood in the names of others.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use spectrum_tests::{
    World, config, wait,
    world::{CLIENT, EDGE, SHUNNED, client::Knock, config::Config, trafgen::Flood},
};

/// Few enough for a slow machine.
const LIMITS: &str = "auto_connections = 20\nauto_packets = 1000\n";
/// So many that a machine whose timers wake a generator seldom still sends each name's share over the limit.
const PER_SECOND: u64 = 20_000;
/// A minute of it, where one generator keeps up.
const PACKETS: u64 = 1_200_000;

fn shielded(origin: SocketAddr, mode: &str) -> Config {
    let shield = format!("[shield]\nauto_rules = \"{mode}\"\n{LIMITS}");
    config().app("tcp/443").origin(origin).ip_firewall().raw(&shield)
}

fn auto_rules(world: &World) -> Vec<Value> {
    let rules: Value = serde_json::from_str(&world.edge().spectrum_ok(&["--output", "json", "rule", "list"])).unwrap();
    rules.as_array().unwrap().iter().filter(|rule| rule["extensions"]["source"] == "auto").cloned().collect()
}

/// The automatic rule about a host.
fn rule_for(world: &World, value: IpAddr) -> Option<Value> {
    auto_rules(world).into_iter().find(|rule| rule["configuration"]["value"] == value.to_string())
}

/// A client that connects again and again, and says nothing.
struct Hammer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hammer {
    fn begin(world: &World, from: IpAddr, to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = world.client().namespace().spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
                // At most so many a second, also where nobody answers.
                let _ = socket.connect_timeout(&to.into(), Duration::from_millis(30));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn echoes(connection: &mut TcpStream) -> bool {
    connection.write_all(b"x").and_then(|()| connection.read_exact(&mut [0])).is_ok()
}

#[test]
fn a_client_that_hammers_gets_a_rule_that_is_tried_then_one_that_acts_and_is_let_in_when_it_is_calm() {
    let world = World::new();
    // Who hammers fast enough is a flood, too.
    world.client().take_answers();
    let origin = world.origin().echo();
    let mut edge = world.edge().run(shielded(origin.addr(), "simulate"));
    let to = edge.at(443);
    assert_eq!(world.client().ask_from(CLIENT, to, b"hi"), b"hi");
    let hammer = Hammer::begin(&world, SHUNNED, to);
    let rule = wait::eventually("a rule", || rule_for(&world, SHUNNED));
    assert_eq!((&rule["mode"], &rule["simulate"]), (&"block".into(), &true.into()), "{rule}");
    let notes = rule["notes"].as_str().unwrap();
    assert!(notes.contains("connections a second") && notes.contains("proven"), "{notes}");
    assert!(rule["expires_on"].is_string());
    wait::eventually("it is counted", || (edge.counter("simulated") > 0).then_some(()));
    assert_eq!(edge.status()["daemon"]["rules"]["auto"], 1);

    edge.reload(shielded(origin.addr(), "enforce"));
    let rule =
        wait::eventually("a rule that acts", || rule_for(&world, SHUNNED).filter(|rule| rule["simulate"] == false));
    wait::eventually("it acts", || (edge.counter("blocked") > 0).then_some(()));
    assert_eq!(world.client().ask_from(CLIENT, to, b"hi"), b"hi", "its neighbour is served");
    // It goes on as long as the hammering does.
    wait::pause(Duration::from_secs(12));
    assert!(rule_for(&world, SHUNNED).is_some(), "{rule}");
    drop(hammer);
    wait::within(wait::DEADLINE, || rule_for(&world, SHUNNED).is_none().then_some(())).expect("it is withdrawn");
    assert_eq!(world.client().ask_from(SHUNNED, to, b"hi"), b"hi");
    assert!(edge.process().printed().contains("it is calm"), "it says so");
}

#[test]
fn a_rule_that_an_operator_took_away_does_not_come_back_and_who_is_served_gets_none() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let edge = world.edge().run(shielded(origin.addr(), "enforce"));
    let to = edge.at(443);
    // One that has been served for a while.
    let mut open = world.client().connect_from(CLIENT, to).unwrap();
    for _ in 0..16 {
        assert!(echoes(&mut open));
        wait::pause(Duration::from_millis(500));
    }
    let _served = Hammer::begin(&world, CLIENT, to);
    let hammer = Hammer::begin(&world, SHUNNED, to);
    wait::eventually("a rule", || rule_for(&world, SHUNNED));
    assert_eq!(world.client().knock_from(SHUNNED, to), Knock::Silence);
    world.edge().spectrum_ok(&["rule", "delete", &SHUNNED.to_string()]);
    for _ in 0..8 {
        wait::pause(Duration::from_millis(500));
        assert!(echoes(&mut open));
    }
    let rules = auto_rules(&world);
    let acting: Vec<&Value> = rules.iter().filter(|rule| rule["simulate"] == false).collect();
    assert!(acting.is_empty(), "{acting:?}");
    drop(hammer);
}

#[test]
fn a_flood_in_the_names_of_others_blocks_nobody() {
    let world = World::new();
    world.client().take_answers();
    let origin = world.origin().echo();
    let edge = world.edge().run(shielded(origin.addr(), "enforce"));
    let to = edge.at(443);
    // As many packets in one victim's name as in random names.
    let in_the_name_of =
        |names| format!("ipv4(ttl=64, sa={names}, da={EDGE}), tcp(sport=drnd(), dport=443, seq=drnd(), syn)");
    let kinds = [in_the_name_of("192.0.2.99"), in_the_name_of("drnd()")];
    let flood = Flood::start(&world, &kinds.each_ref().map(String::as_str), PACKETS, PER_SECOND);
    let victim: IpAddr = "192.0.2.99".parse().unwrap();
    let rule = wait::eventually("what was sampled is told", || rule_for(&world, victim));
    assert_eq!(rule["simulate"], true, "{rule}");
    assert!(rule["notes"].as_str().unwrap().contains("forged"), "{rule}");
    wait::pause(Duration::from_secs(6));
    let rules = auto_rules(&world);
    assert!(rules.iter().all(|rule| rule["simulate"] == true), "{rules:?}");
    assert_eq!(edge.counter("blocked"), 0);
    assert_eq!(world.client().ask(to, b"hi"), b"hi");
    drop(flood);
}
