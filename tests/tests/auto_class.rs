//! Automatic rules by network and country: a flood that no single source explains.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics: that is its report")]

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use serde_json::Value;
use spectrum_tests::{
    World, config, wait,
    world::{
        CLIENT,
        config::Config,
        databases::{self, GEO},
        trafgen::{self, Flood},
    },
};

/// Of random sources a third is in AS64501 in France, where nobody else is: no client, no origin, not this host.
const NETWORKS: [(&str, u32, &str); 4] = [
    ("16.0.0.0/4", 64501, "FR"),
    ("32.0.0.0/3", 64501, "FR"),
    ("64.0.0.0/3", 64501, "FR"),
    ("192.0.2.0/24", 64500, "DE"),
];

/// Bounds that a slow machine's flood is over: four times as much for a network.
const SHIELD: &str = "[shield]\nauto_rules = \"enforce\"\nauto_packets = 200\n";

fn node(origin: std::net::SocketAddr, geo: &str) -> Config {
    config().app("tcp/443").origin(origin).ip_firewall().raw(SHIELD).raw(geo)
}

/// So many that a third of half of them is over a network's bound.
fn flood(world: &World) -> Flood {
    Flood::of(world, &trafgen::syns_to(443), 12_000)
}

fn auto_rules(world: &World) -> Vec<Value> {
    let rules: Value = serde_json::from_str(&world.edge().spectrum_ok(&["--output", "json", "rule", "list"])).unwrap();
    rules.as_array().unwrap().iter().filter(|rule| rule["extensions"]["source"] == "auto").cloned().collect()
}

fn rule_for(world: &World, value: &str) -> Option<Value> {
    auto_rules(world).into_iter().find(|rule| rule["configuration"]["value"] == value)
}

#[test]
fn a_network_that_floods_is_tried_and_told_and_withdrawn_and_stays_away_when_an_operator_says_so() {
    let world = World::new();
    world.client().take_answers();
    databases::write(world.edge(), &NETWORKS);
    let origin = world.origin().echo();
    let mut edge = world.edge().run(node(origin.addr(), GEO));
    let to = edge.at(443);
    // So long it learns what is usual.
    wait::pause(Duration::from_secs(22));
    assert_eq!(auto_rules(&world), Vec::<Value>::new());

    let flooding = flood(&world);
    let rule = wait::eventually("a rule", || rule_for(&world, "AS64501"));
    assert_eq!((&rule["mode"], &rule["simulate"]), (&"block".into(), &true.into()), "{rule}");
    assert_eq!(rule["configuration"]["target"], "asn");
    let notes = rule["notes"].as_str().unwrap();
    assert!(notes.contains("many hosts") && notes.contains("only an operator makes it act"), "{notes}");
    assert!(rule["expires_on"].is_string());
    let list = world.edge().spectrum_ok(&["rule", "list"]);
    assert!(list.lines().any(|line| line.contains("AS64501") && line.contains("auto")), "{list}");
    let why = world.edge().spectrum_ok(&["why", "33.3.3.3", "--to", &to.to_string()]);
    assert!(why.contains("AS64501"), "{why}");
    let top: Value = serde_json::from_str(&world.edge().spectrum_ok(&["top", "--once", "--output", "json"])).unwrap();
    let networks = top["sources"]["networks"].as_array().unwrap();
    let told: Vec<&str> = networks.iter().filter_map(|rate| rate["target"].as_str()).collect();
    assert_eq!(told, ["FR", "AS64501"], "no /24 stands out: {networks:?}");
    let simulated = ["events", "-f", "--passed", "--source", "16.0.0.0/4", "--count", "1"];
    let row = world.edge().spectrum_ok(&simulated);
    assert!(row.contains("(AS64501 FR) -> 198.51.100.10:443"), "{row}");
    assert!(rule_for(&world, "FR").is_none(), "the country is not to blame for its one network");
    assert_eq!(edge.counter("blocked"), 0, "what can be forged does not act");
    assert_eq!(world.client().ask_from(CLIENT, to, b"hi"), b"hi");
    drop(flooding);
    wait::within(wait::DEADLINE, || rule_for(&world, "AS64501").is_none().then_some(())).expect("it is withdrawn");
    assert!(edge.process().printed().contains("block AS64501 is over: it is calm"));

    let _flooding = flood(&world);
    wait::eventually("it is there again", || rule_for(&world, "AS64501"));
    world.edge().spectrum_ok(&["rule", "delete", "AS64501"]);
    for _ in 0..12 {
        wait::pause(Duration::from_millis(500));
        assert!(rule_for(&world, "AS64501").is_none(), "an operator has said no");
    }
    assert!(auto_rules(&world).iter().all(|rule| rule["simulate"] == true));
    // Where no database says whose an address is, there is nobody to blame.
    edge.reload(node(origin.addr(), ""));
    wait::pause(Duration::from_secs(5));
    assert_eq!(auto_rules(&world), Vec::<Value>::new());
    assert_eq!(world.client().ask_from(CLIENT, to, b"hi"), b"hi");
}

#[test]
fn a_network_of_clients_that_are_served_is_spared_and_what_an_operator_has_changed_is_left_alone() {
    let world = World::new();
    world.client().take_answers();
    // The client, and a third of random sources, are in one network. This host is beside the client, and not in it.
    let [first, second, third, _] = NETWORKS;
    databases::write(world.edge(), &[first, second, third, ("192.0.2.2/32", 64501, "FR")]);
    let origin = world.origin().echo();
    let edge = world.edge().run(node(origin.addr(), GEO));
    let to = edge.at(443);
    wait::pause(Duration::from_secs(20));
    let mut served = world.client().connect_from(CLIENT, to).unwrap();
    let mut is_served = |seconds: u64| {
        for _ in 0..seconds * 2 {
            served.write_all(b"x").unwrap();
            served.read_exact(&mut [0]).unwrap();
            wait::pause(Duration::from_millis(500));
        }
    };
    is_served(8);
    let _flooding = flood(&world);
    is_served(10);
    assert!(auto_rules(&world).is_empty(), "a client of that network is being served");
    drop(served);
    let rule = wait::eventually("a rule when nobody is served there", || rule_for(&world, "AS64501"));
    assert!(rule["notes"].as_str().unwrap().contains("0 of 0 clients"), "{rule}");

    world.edge().spectrum_ok(&["rule", "update", "AS64501", "--notes", "mine"]);
    wait::pause(Duration::from_secs(5));
    let rules: Value = serde_json::from_str(&world.edge().spectrum_ok(&["--output", "json", "rule", "list"])).unwrap();
    let [rule] = &rules.as_array().unwrap()[..] else { panic!("{rules}") };
    assert_eq!((&rule["notes"], &rule["extensions"]["source"]), (&"mine".into(), &"operator".into()), "{rule}");
    assert_eq!(rule["simulate"], true);
}
