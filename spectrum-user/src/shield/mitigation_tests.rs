use super::*;

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
        self.look_except(seen, |_| None)
    }

    fn look_except(&mut self, seen: &Seen, exempt: impl Fn(IpNet) -> Option<&'static str>) -> Vec<Verdict> {
        self.now += LOOK;
        self.mitigation.look(self.now, LOOK, seen, self.bounds, exempt)
    }

    fn looks(&mut self, count: u32, seen: &Seen) -> Vec<Verdict> {
        (0..count).flat_map(|_| self.look(seen)).collect()
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn connections(counts: &[(&str, u64)]) -> Seen {
    let mut seen = Seen::default();
    for (source, count) in counts {
        seen.connections.add(host(source.parse().unwrap()), *count);
    }
    seen
}

fn packets(counts: &[(&str, u64)]) -> Seen {
    let mut seen = Seen::default();
    for (source, count) in counts {
        let source = source.parse().unwrap();
        seen.packets.add(host(source), *count);
        seen.networks.add(network(source), *count);
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
        random.packets.add(host(source), 1);
        random.networks.add(network(source), 1);
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
    let spared = |target: IpNet| (target == net("192.0.2.7/32")).then_some("it moves bytes");
    let verdicts: Vec<Verdict> = (0..5).flat_map(|_| run.look_except(&busy, spared)).collect();
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
    both.packets.add(host("192.0.2.7".parse().unwrap()), 9000);
    both.connections.add(host("192.0.2.7".parse().unwrap()), 300);
    let verdicts = run.looks(5, &both);
    let acts: Vec<&Verdict> =
        verdicts.iter().filter(|v| matches!(v, Verdict::Install { simulate: false, .. })).collect();
    assert_eq!(acts.len(), 1, "{verdicts:?}");
}
