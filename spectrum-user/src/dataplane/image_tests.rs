use super::*;
use crate::{
    model::{AppId, Connectivity, Edge, EdgeIps, Rates, RuleId, ServerNames, Target, UdpFilters, Zone},
    proxy::testing::application,
};

fn zone(name: &str) -> Zone {
    Zone { id: ZoneId::derive(&[name]), name: name.to_owned() }
}

fn app(protocol: &str, address: &str) -> Application {
    Application {
        id: AppId::derive(&[protocol, address]),
        zone: zone("example.com").id,
        protocol: protocol.parse().unwrap(),
        edge_ips: EdgeIps::Dynamic(Connectivity::All),
        addresses: vec![address.parse().unwrap()],
        ip_firewall: true,
        ..application(1, 1)
    }
}

fn rule(mode: RuleMode, prefix: &str, scope: Scope) -> AccessRule {
    let id = RuleId::derive(&[prefix, &format!("{mode:?}{scope:?}")]);
    AccessRule {
        id,
        scope,
        mode,
        target: Target::Prefix(prefix.parse().unwrap()),
        notes: String::new(),
        simulate: false,
        expires_on: None,
    }
}

fn desired(applications: Vec<Application>, rules: Vec<AccessRule>) -> DesiredState {
    DesiredState {
        edge: Edge { pools: vec!["198.51.100.0/24".parse().unwrap()], ..Edge::default() },
        zones: vec![zone("example.com")],
        applications,
        rules,
        ..DesiredState::default()
    }
}

fn of(desired: &DesiredState) -> MapImage {
    image(desired, &MapImage::default()).unwrap()
}

#[test]
fn a_pool_is_one_closed_entry_per_transport() {
    let image = of(&desired(vec![], vec![]));
    assert_eq!(image.steer.len(), 2);
    assert!(image.steer.values().all(|value| value.flags & steer_flags::CLOSED == steer_flags::CLOSED_DROP));
    assert!(image.steer.keys().all(|prefix| prefix.bits == 32 + 96 + 24));
}

#[test]
fn every_port_of_an_address_is_sixteen_entries() {
    let image = of(&desired(vec![app("tcp/1-65535", "198.51.100.1")], vec![]));
    assert_eq!(image.steer.len(), 2 + 16);
}

#[test]
fn applications_that_share_an_address_are_one_to_the_kernel() {
    let named = |hostname: &str, names: &[&str], addresses: &[&str]| {
        let mut app = app("tcp/443", "198.51.100.1");
        app.id = AppId::derive(&[hostname]);
        app.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        app.sni = ServerNames::new(names.iter().map(|name| (*name).to_owned()).collect());
        app
    };
    let (shared, own) = ("198.51.100.1", "198.51.100.2");
    let a = named("a", &["a.example.com"], &[shared]);
    let b = named("b", &["b.example.com"], &[shared, own]);
    let rest = named("rest", &[], &[shared]);
    let owners = |apps: &[&Application]| {
        let desired = desired(apps.iter().map(|app| (*app).clone()).collect(), vec![]);
        let image = of(&desired);
        let name = |value: &SteerValue| image.apps[&value.app].id;
        let at = |address: &str| {
            let octets = octets(address.parse().unwrap());
            let there = image.steer.iter().filter(|(prefix, _)| prefix.key == steer::key(6, octets, [1, 187]));
            there.map(|(_, value)| name(value)).collect::<Vec<_>>()
        };
        (at(shared), at(own))
    };
    for order in [[&a, &b, &rest], [&rest, &b, &a], [&b, &rest, &a]] {
        assert_eq!(owners(&order), (vec![rest.id.bytes()], vec![b.id.bytes()]), "who takes the others stands for all");
    }
    let first = a.id.min(b.id).bytes();
    for order in [[&a, &b], [&b, &a]] {
        assert_eq!(owners(&order), (vec![first], vec![b.id.bytes()]));
    }
    let desired = desired(vec![a.clone(), b.clone(), rest.clone()], vec![]);
    let leaders = Leaders::of(&desired);
    let mut led: Vec<_> = leaders.led_by(&rest).collect();
    led.sort_unstable();
    let mut others = [a.id, b.id];
    others.sort_unstable();
    assert_eq!(led, others);
    assert_eq!(leaders.led_by(&a).count() + leaders.led_by(&b).count(), 0);
}

#[test]
fn a_prefix_says_what_its_covering_prefixes_say() {
    let image = of(&desired(
        vec![],
        vec![
            rule(RuleMode::Block, "203.0.113.7/32", Scope::User),
            rule(RuleMode::Allow, "203.0.113.0/24", Scope::User),
            rule(RuleMode::Block, "203.0.0.0/16", Scope::User),
        ],
    ));
    let values: Vec<(u32, bool, bool)> =
        image.rules_v4.iter().map(|(p, v)| (p.bits - SCOPE_BITS, v.allow != 0, v.block != 0)).collect();
    assert_eq!(values, [(16, false, true), (24, true, true), (32, true, true)]);
    let block = |bits| image.rules_v4.iter().find(|(p, _)| p.bits == SCOPE_BITS + bits).unwrap().1.block;
    assert_ne!(block(32), block(24), "the most specific block is the one that is reported");
    assert_eq!(block(24), block(16));
}

#[test]
fn scopes_do_not_cover_each_other() {
    let zone_scope = Scope::Zone(zone("example.com").id);
    let image = of(&desired(
        vec![],
        vec![rule(RuleMode::Block, "0.0.0.0/0", Scope::User), rule(RuleMode::Allow, "203.0.113.0/24", zone_scope)],
    ));
    let zone_value = image.rules_v4.iter().find(|(p, _)| p.bits == SCOPE_BITS + 24).unwrap().1;
    assert_eq!(zone_value.block, 0);
}

#[test]
fn challenges_take_no_entry() {
    let image = of(&desired(vec![], vec![rule(RuleMode::Challenge, "203.0.113.0/24", Scope::User)]));
    assert!(image.rules_v4.is_empty());
    assert_eq!(image.rules.len(), 1, "but keep their name");
}

#[test]
fn numbers_survive_a_change() {
    let first = of(&desired(vec![app("tcp/1", "198.51.100.1"), app("tcp/2", "198.51.100.1")], vec![]));
    let mut changed = desired(vec![app("tcp/2", "198.51.100.1"), app("tcp/3", "198.51.100.1")], vec![]);
    let second = image(&changed, &first).unwrap();
    let number = |image: &MapImage, app: &Application| {
        image.apps.iter().find(|(_, name)| name.id == app.id.bytes()).map(|(number, _)| *number)
    };
    let kept = app("tcp/2", "198.51.100.1");
    assert_eq!(number(&first, &kept), number(&second, &kept));
    changed.applications.clear();
    assert!(image(&changed, &second).unwrap().apps.is_empty());
}

#[test]
fn an_application_of_an_unknown_zone_is_refused() {
    let mut state = desired(vec![app("tcp/1", "198.51.100.1")], vec![]);
    state.zones.clear();
    assert!(matches!(image(&state, &MapImage::default()), Err(ImageError::UnknownZone(_))));
}

#[test]
fn an_application_with_a_rate_has_a_policy_and_a_bit_that_says_so() {
    let rate = |per_second| PacketRate::new(per_second);
    let mut limited = app("tcp/443", "198.51.100.1");
    limited.rates = Rates { per_source: rate(10), total: rate(1000) };
    let image = of(&desired(vec![app("tcp/80", "198.51.100.1"), limited.clone()], vec![]));
    let flagged: Vec<_> = image.steer.values().filter(|value| value.flags & steer_flags::POLICY != 0).collect();
    let [value] = flagged[..] else { panic!("one port: {flagged:?}") };
    assert_eq!(image.policies.keys().collect::<Vec<_>>(), [&value.app]);
    assert_eq!(image.policies[&value.app].limits, Limits { per_source: 10, total: 1073 }, "for a window");

    limited.rates.total = None;
    let image = of(&desired(vec![limited], vec![]));
    assert_eq!(image.policies[&0].limits.total, fair::UNLIMITED);
}

#[test]
fn an_application_over_udp_takes_neither_answers_nor_fragments_unless_it_says_so() {
    let over_udp = |filters, udp_fragments| {
        let mut desired = desired(vec![app("udp/53", "198.51.100.1"), app("tcp/53", "198.51.100.1")], vec![]);
        for app in &mut desired.applications {
            app.udp_filters = filters;
        }
        desired.edge.udp_fragments = udp_fragments;
        let image = of(&desired);
        let protocol = |number| {
            let mut flags = image.steer.iter().filter(|(prefix, _)| prefix.key.protocol == number);
            flags.all(|(_, value)| value.flags & steer_flags::NO_FRAGMENTS != 0)
        };
        let filters: Vec<_> = image.policies.values().map(|policy| policy.udp_filters).collect();
        (filters, protocol(17), protocol(6))
    };
    let both = UdpFilters { reflection: true, signatures: true };
    let none = UdpFilters { reflection: false, signatures: false };
    assert_eq!(over_udp(both, UdpFragments::Drop), (vec![3], true, false));
    assert_eq!(over_udp(UdpFilters { reflection: false, ..both }, UdpFragments::Pass), (vec![2], false, false));
    assert_eq!(over_udp(none, UdpFragments::Drop), (vec![], true, false));
}
