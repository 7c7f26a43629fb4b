use ipnet::IpNet;
use spectrum_common::geo::country;

use super::*;
use crate::{model::Country, shield::takes_in};

const LOOK: Duration = Duration::from_secs(1);
const BOUNDS: Bounds = Bounds { mode: AutoRules::Enforce, connections: 100.0, packets: 1000.0, most: 4 };

/// A run of looks.
struct Run {
    mitigation: Mitigation,
    now: Instant,
    bounds: Bounds,
}

impl Run {
    fn new(mode: AutoRules) -> Self {
        Self { mitigation: Mitigation::default(), now: Instant::now(), bounds: Bounds { mode, ..BOUNDS } }
    }

    fn look(&mut self, seen: &Seen) -> Vec<Verdict> {
        self.look_beside(seen, &Others::default())
    }

    fn look_beside(&mut self, seen: &Seen, others: &Others) -> Vec<Verdict> {
        self.now += LOOK;
        self.mitigation.look(self.now, LOOK, seen, self.bounds, others)
    }

    fn looks(&mut self, count: u32, seen: &Seen) -> Vec<Verdict> {
        (0..count).flat_map(|_| self.look(seen)).collect()
    }
}

/// Whom a target may name, and where addresses are.
#[derive(Default)]
struct Others {
    spared: Vec<Target>,
    classes: Vec<(IpNet, Class)>,
}

impl Bystanders for Others {
    fn class(&self, address: IpAddr) -> Option<Class> {
        let known = self.classes.iter().find(|(network, _)| network.contains(&address));
        (!self.classes.is_empty()).then(|| known.map_or(Class::UNKNOWN, |(_, class)| *class))
    }

    fn spares(&self, target: Target) -> Option<&'static str> {
        self.spared.contains(&target).then_some("it moves bytes")
    }

    fn served(&self, target: Target) -> (usize, usize) {
        (usize::from(takes_in(target, CLASS)), 40)
    }
}

const CLASS: Class = Class { asn: 64500, country: country(*b"FR") };

fn net(text: &str) -> Target {
    Target::Prefix(text.parse().unwrap())
}

fn france() -> Target {
    Target::Country(Country::new("FR").unwrap())
}

fn connections(counts: &[(&str, u64)]) -> Seen {
    let mut seen = Seen::default();
    for (source, count) in counts {
        seen.connections.add(source.parse().unwrap(), Class::UNKNOWN, *count);
    }
    seen
}

fn packets(counts: &[(&str, u64)]) -> Seen {
    let mut seen = Seen::default();
    for (source, count) in counts {
        seen.packets.add(source.parse().unwrap(), Class::UNKNOWN, *count);
    }
    seen
}

#[test]
fn a_host_that_hammers_is_blocked_once_and_let_in_again_when_it_is_calm() {
    let mut run = Run::new(AutoRules::Enforce);
    let (busy, calm) = (connections(&[("192.0.2.7", 300), ("192.0.2.8", 50)]), Seen::default());
    assert_eq!(run.looks(2, &busy), [], "not at once");
    let verdicts = run.looks(1, &busy);
    let [Verdict::Install { target, simulate: false, why }] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!(*target, net("192.0.2.7/32"));
    assert!(why.contains("300 connections a second of 350") && why.contains("100 are too many"), "{why}");
    assert_eq!(run.looks(5, &busy), [], "once");
    // The rule stops it now: what it drops shows that it goes on.
    let stopped = Seen { matched: [(*target, 200)].into(), ..Seen::default() };
    assert_eq!(run.looks(60, &stopped), []);
    assert_eq!(run.looks(10, &calm), []);
    assert_eq!(run.looks(1, &calm), [Verdict::Withdraw { target: *target }]);
    assert_eq!(run.looks(2, &busy), []);
    assert_eq!(run.looks(1, &busy).len(), 1, "and again");
}

#[test]
fn a_pause_shorter_than_calm_changes_nothing_and_a_moment_above_the_limit_is_none() {
    let mut run = Run::new(AutoRules::Enforce);
    let busy = connections(&[("192.0.2.7", 300)]);
    for _ in 0..20 {
        assert_eq!(run.looks(2, &busy), []);
        assert_eq!(run.looks(1, &Seen::default()), []);
    }
    assert_eq!(run.looks(3, &busy).len(), 1);
    for _ in 0..10 {
        assert_eq!(run.looks(9, &Seen::default()), []);
        assert_eq!(run.looks(1, &busy), []);
    }
}

#[test]
fn what_can_be_forged_never_leads_to_a_rule_that_acts() {
    let mut run = Run::new(AutoRules::Enforce);
    let verdicts = run.looks(10, &packets(&[("192.0.2.7", 50_000), ("2001:db8::7", 50_000)]));
    assert_eq!(verdicts.len(), 2);
    assert!(
        verdicts.iter().all(|v| matches!(v, Verdict::Install { simulate: true, why, .. } if why.contains("forged")))
    );
    // Every source once: nothing stands out.
    let mut run = Run::new(AutoRules::Enforce);
    let mut random = Seen::default();
    for number in 0..100_000_u32 {
        let source = IpAddr::from(number.wrapping_mul(2_654_435_761).to_be_bytes());
        random.packets.add(source, Class::UNKNOWN, 1);
    }
    assert_eq!(run.looks(20, &random), []);
}

#[test]
fn in_simulate_nothing_acts_and_off_is_off() {
    let busy = connections(&[("192.0.2.7", 300)]);
    assert!(matches!(Run::new(AutoRules::Simulate).looks(9, &busy)[..], [Verdict::Install { simulate: true, .. }]));
    assert_eq!(Run::new(AutoRules::Off).looks(9, &busy), []);
}

#[test]
fn a_network_is_blamed_for_what_no_host_of_it_explains() {
    let spread: Vec<(String, u64)> = (1..200).map(|i| (format!("192.0.2.{i}"), 20)).collect();
    let spread: Vec<(&str, u64)> = spread.iter().map(|(source, count)| (source.as_str(), *count)).collect();
    let verdicts = Run::new(AutoRules::Enforce).looks(5, &packets(&spread));
    assert!(
        matches!(&verdicts[..], [Verdict::Install { target, simulate: true, .. }] if *target == net("192.0.2.0/24"))
    );
    let verdicts = Run::new(AutoRules::Enforce).looks(5, &packets(&[("192.0.2.7", 5000)]));
    assert!(
        matches!(&verdicts[..], [Verdict::Install { target, .. }] if *target == net("192.0.2.7/32")),
        "{verdicts:?}"
    );
}

#[test]
fn the_exempt_the_many_and_the_taken_away_get_no_rule() {
    let mut run = Run::new(AutoRules::Enforce);
    let busy = connections(&[("192.0.2.7", 300), ("192.0.2.8", 200)]);
    let others = Others { spared: vec![net("192.0.2.7/32")], ..Others::default() };
    let verdicts: Vec<Verdict> = (0..5).flat_map(|_| run.look_beside(&busy, &others)).collect();
    assert!(matches!(&verdicts[..], [Verdict::Install { target, .. }] if *target == net("192.0.2.8/32")));

    run.mitigation.taken_away(net("192.0.2.8/32"), run.now);
    run.mitigation.taken_away(net("192.0.2.7/32"), run.now);
    assert_eq!(run.looks(3599, &busy), []);
    assert_eq!(run.looks(2, &busy).len(), 2, "after an hour it may come back");

    let many: Vec<(String, u64)> = (1..10).map(|i| (format!("198.51.100.{i}"), 300)).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|(source, count)| (source.as_str(), *count)).collect();
    assert_eq!(run.looks(5, &connections(&many)).len(), 2, "four at once, and two there are");
    run.mitigation.ended(net("192.0.2.7/32"));
    assert_eq!(run.looks(1, &connections(&many)).len(), 1, "there is room again");
}

#[test]
fn what_could_not_be_made_is_tried_again_after_a_minute() {
    let mut run = Run::new(AutoRules::Enforce);
    let busy = connections(&[("192.0.2.7", 300)]);
    assert_eq!(run.looks(3, &busy).len(), 1);
    run.mitigation.failed(net("192.0.2.7/32"), run.now);
    assert_eq!(run.looks(59, &busy), []);
    assert_eq!(run.looks(2, &busy).len(), 1);
}

#[test]
fn one_of_many_equals_is_not_blamed_for_the_crowd() {
    // Each above the limit, none of them stands out.
    let crowd: Vec<(String, u64)> = (1..151).map(|i| (format!("192.0.2.{i}"), 150)).collect();
    let crowd: Vec<(&str, u64)> = crowd.iter().map(|(source, count)| (source.as_str(), *count)).collect();
    assert_eq!(Run::new(AutoRules::Enforce).looks(9, &connections(&crowd)), []);
}

#[test]
fn forged_evidence_keeps_no_proven_one_out() {
    let mut run = Run::new(AutoRules::Enforce);
    // Somebody sends in the names of many, and in the name of the host that will hammer.
    let forged: Vec<(String, u64)> = (1..20).map(|i| (format!("198.51.{i}.7"), 9000)).collect();
    let forged: Vec<(&str, u64)> = forged.iter().map(|(source, count)| (source.as_str(), *count)).collect();
    assert_eq!(run.looks(5, &packets(&forged)).len(), 4);
    run.mitigation.active.clear();
    let [Verdict::Install { simulate: true, .. }] = run.looks(5, &packets(&[("192.0.2.7", 9000)]))[..] else {
        panic!()
    };
    let mut both = packets(&forged);
    both.packets.add("192.0.2.7".parse().unwrap(), Class::UNKNOWN, 9000);
    both.connections.add("192.0.2.7".parse().unwrap(), Class::UNKNOWN, 300);
    let verdicts = run.looks(5, &both);
    let acts: Vec<&Verdict> =
        verdicts.iter().filter(|v| matches!(v, Verdict::Install { simulate: false, .. })).collect();
    assert_eq!(acts.len(), 1, "{verdicts:?}");
}

/// The databases of these tests: 192.0.0.0/8 is one network in two countries, 198.0.0.0/8 another network in one of them.
fn databases() -> Others {
    let class = |asn, letters| Class { asn, country: country(letters) };
    let classes = [
        ("192.0.0.0/9", CLASS),
        ("192.128.0.0/9", class(64500, *b"DE")),
        ("198.0.0.0/8", class(64501, *b"FR")),
        ("203.0.0.0/8", class(64502, *b"ES")),
    ];
    Others { spared: Vec::new(), classes: classes.map(|(net, class)| (net.parse().unwrap(), class)).to_vec() }
}

/// So many packets from each of these, with the class that the databases give.
fn spread(others: &Others, from: &[(&str, u64)]) -> Seen {
    let mut seen = Seen::default();
    for (network, count) in from {
        let network: IpNet = network.parse().unwrap();
        let hosts = network.subnets(24).unwrap().take(500).map(|net| net.network());
        let hosts: Vec<IpAddr> = hosts.collect();
        for host in &hosts {
            seen.packets.add(*host, others.class(*host).unwrap(), count / hosts.len() as u64);
        }
    }
    seen
}

fn targets(verdicts: &[Verdict]) -> Vec<Target> {
    let target = |verdict: &Verdict| match verdict {
        Verdict::Install { target, simulate: true, .. } => *target,
        other => panic!("{other:?}"),
    };
    verdicts.iter().map(target).collect()
}

/// Looks until it is known what is usual.
fn quiet(run: &mut Run, others: &Others, usual: &Seen) {
    for _ in 0..25 {
        assert_eq!(run.look_beside(usual, others), []);
    }
}

#[test]
fn a_network_or_country_that_floods_is_told_and_only_tried_and_withdrawn() {
    let mut run = Run::new(AutoRules::Enforce);
    let others = databases();
    quiet(&mut run, &others, &spread(&others, &[("203.0.113.0/24", 100)]));
    let flood = spread(&others, &[("192.1.0.0/16", 9000), ("203.0.113.0/24", 100)]);
    let verdicts: Vec<Verdict> = (0..5).flat_map(|_| run.look_beside(&flood, &others)).collect();
    let [Verdict::Install { target: Target::Asn(64500), simulate: true, why }] = &verdicts[..] else {
        panic!("the country is not to blame for its one network: {verdicts:?}")
    };
    assert!(why.contains("forged") && why.contains("1 of 40 clients that are being served"), "{why}");
    // Of two networks neither may stand out, where the country does.
    let mut run = Run::new(AutoRules::Simulate);
    quiet(&mut run, &others, &Seen::default());
    let flood = spread(&others, &[("192.1.0.0/16", 3000), ("198.51.0.0/16", 3000)]);
    let verdicts: Vec<Verdict> = (0..5).flat_map(|_| run.look_beside(&flood, &others)).collect();
    assert_eq!(targets(&verdicts), [france()]);
    for _ in 0..10 {
        assert_eq!(run.look_beside(&Seen::default(), &others), []);
    }
    assert_eq!(run.look_beside(&Seen::default(), &others), [Verdict::Withdraw { target: france() }]);
}

#[test]
fn what_is_proven_of_a_class_is_only_tried_too() {
    let mut run = Run::new(AutoRules::Enforce);
    let others = databases();
    quiet(&mut run, &others, &Seen::default());
    let packets = spread(&others, &[("192.1.0.0/16", 2000)]);
    let crowd = Seen { connections: packets.packets, ..Seen::default() };
    let verdicts: Vec<Verdict> = (0..5).flat_map(|_| run.look_beside(&crowd, &others)).collect();
    assert_eq!(targets(&verdicts), [Target::Asn(64500)]);
}

#[test]
fn what_a_country_does_every_day_is_not_held_against_it() {
    let mut run = Run::new(AutoRules::Simulate);
    let others = databases();
    let usual = spread(&others, &[("192.1.0.0/16", 20_000)]);
    for _ in 0..600 {
        assert_eq!(run.look_beside(&usual, &others), []);
    }
    let rush = spread(&others, &[("192.1.0.0/16", 60_000)]);
    for _ in 0..10 {
        assert_eq!(run.look_beside(&rush, &others), [], "three times as much is a good evening");
    }
    let flood = spread(&others, &[("192.1.0.0/16", 20_000), ("203.1.0.0/16", 9000)]);
    let verdicts: Vec<Verdict> = (0..5).flat_map(|_| run.look_beside(&flood, &others)).collect();
    assert_eq!(targets(&verdicts), [Target::Asn(64502)], "who is new stands out");
}

#[test]
fn a_class_is_not_to_blame_for_its_one_host_nor_where_it_is_spared_and_needs_a_database() {
    let others = databases();
    let mut run = Run::new(AutoRules::Simulate);
    quiet(&mut run, &others, &Seen::default());
    let mut one = Seen::default();
    one.packets.add("192.1.0.7".parse().unwrap(), CLASS, 9000);
    let verdicts: Vec<Verdict> = (0..5).flat_map(|_| run.look_beside(&one, &others)).collect();
    assert_eq!(targets(&verdicts), [net("192.1.0.7/32")]);

    let spared = Others { spared: vec![Target::Asn(64500)], ..databases() };
    let mut run = Run::new(AutoRules::Simulate);
    quiet(&mut run, &spared, &Seen::default());
    let flood = spread(&others, &[("192.1.0.0/16", 9000)]);
    assert_eq!((0..9).flat_map(|_| run.look_beside(&flood, &spared)).count(), 0);

    let without = Others::default();
    let mut run = Run::new(AutoRules::Simulate);
    quiet(&mut run, &without, &Seen::default());
    assert_eq!((0..9).flat_map(|_| run.look_beside(&flood, &without)).count(), 0);
}

#[test]
fn classes_have_places_of_their_own() {
    let others = databases();
    let mut run = Run::new(AutoRules::Simulate);
    run.bounds.most = 1;
    quiet(&mut run, &others, &Seen::default());
    let mut both = spread(&others, &[("192.1.0.0/16", 9000)]);
    both.packets.add("203.0.113.7".parse().unwrap(), Class::UNKNOWN, 9000);
    let verdicts: Vec<Verdict> = (0..5).flat_map(|_| run.look_beside(&both, &others)).collect();
    assert_eq!(targets(&verdicts), [net("203.0.113.7/32"), Target::Asn(64500)]);
}
