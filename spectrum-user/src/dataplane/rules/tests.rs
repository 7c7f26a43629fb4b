use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use spectrum_common::{
    layout::{RuleKeyV4, RuleValue, SteerValue, steer_flags},
    limits,
};

use super::*;
use crate::{
    dataplane::{
        diff::diff,
        image::{SCOPE_BITS, image, truncate},
    },
    model::{Application, Country, DesiredState, RuleId, RuleMode, Target, Zone, ZoneId},
    proxy::testing::application,
};

fn zone(name: &str) -> Zone {
    Zone { id: ZoneId::derive(&[name]), name: name.to_owned() }
}

/// An application of each zone that asks access rules, and one that does not.
fn applications() -> Vec<Application> {
    let of = |port, zone, ip_firewall| Application { zone, ip_firewall, ..application(port, port) };
    let [a, b] = [zone("a").id, zone("b").id];
    vec![of(1, a, true), of(2, b, true), of(3, a, false)]
}

fn state(rules: Vec<AccessRule>) -> DesiredState {
    let zones = vec![zone("a"), zone("b")];
    DesiredState { zones, applications: applications(), rules, ..DesiredState::default() }
}

fn any_rule() -> impl Strategy<Value = AccessRule> {
    let scope = prop_oneof![Just(Scope::User), Just(Scope::Zone(zone("a").id)), Just(Scope::Zone(zone("b").id))];
    let mode = prop_oneof![Just(RuleMode::Allow), Just(RuleMode::Block), Just(RuleMode::Challenge)];
    // Few bits that vary, so that prefixes cover one another; sometimes the same prefix under two ids.
    let prefix = (any::<bool>(), 0u32..16, 0u8..=8).prop_map(|(v6, last, shorter)| {
        if v6 {
            let address = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(last));
            IpNet::V6(Ipv6Net::new(address, 128 - shorter).unwrap().trunc())
        } else {
            let address = Ipv4Addr::from(0xc000_0200 | last);
            // Now and then all addresses.
            IpNet::V4(Ipv4Net::new(address, if shorter == 8 { 0 } else { 32 - shorter }).unwrap().trunc())
        }
    });
    let country = |code| Country::new(code).unwrap();
    let target = prop_oneof![
        4 => prefix.prop_map(Target::Prefix),
        1 => (64_500..64_502_u32).prop_map(Target::Asn),
        1 => prop_oneof![Just("FR"), Just("DE")].prop_map(move |code| Target::Country(country(code))),
    ];
    (scope, mode, target, any::<bool>(), 0u8..2).prop_map(|(scope, mode, target, simulate, other)| AccessRule {
        id: RuleId::derive(&[&format!("{scope:?} {target} {other}")]),
        scope,
        mode,
        target,
        notes: String::new(),
        simulate: simulate && mode == RuleMode::Block,
        expires_on: None,
    })
}

/// What the tries say of a source in a scope.
fn says<K: Ord + Copy + bytemuck::Pod>(trie: &BTreeMap<Prefix<K>, RuleValue>, source: Prefix<K>) -> RuleValue {
    (SCOPE_BITS..=source.bits).rev().find_map(|bits| trie.get(&truncate(source, bits))).copied().unwrap_or_default()
}

fn all_say(image: &MapImage) -> Vec<RuleValue> {
    let mut all = Vec::new();
    for scope in 0..3 {
        for last in 0..16_u32 {
            let v4 = IpNet::V4(Ipv4Addr::from(0xc000_0200 | last).into());
            let v6 = IpNet::V6(Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(last)).into());
            for source in [v4, v6] {
                all.push(match rule_prefix(scope, source) {
                    RulePrefix::V4(source) => says(&image.rules_v4, source),
                    RulePrefix::V6(source) => says(&image.rules_v6, source),
                });
            }
        }
    }
    all.extend(image.steer.values().flat_map(|app| all_of_class(image, *app)));
    all
}

/// What an application is told of each network and country, by scope.
fn all_of_class(image: &MapImage, app: SteerValue) -> Vec<RuleValue> {
    let mut all = Vec::new();
    let countries = ["FR", "DE"].map(|code| geo::country(Country::new(code).unwrap().bytes()));
    for (map, numbers) in [(ClassMap::Asn, [64_500, 64_501]), (ClassMap::Country, countries)] {
        for scope in [SCOPE_USER, app.zone] {
            let asks = app.flags & map.flag() != 0;
            let says = |number| image.class_rules(map).get(&ClassKey { scope, number }).filter(|_| asks).copied();
            all.extend(numbers.map(|number| says(number).unwrap_or_default()));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn it_says_what_a_whole_image_and_its_diff_say(
        begin in prop::collection::vec(any_rule(), 0..10),
        steps in prop::collection::vec((prop::collection::vec(any_rule(), 0..3), prop::collection::vec(0usize..12, 0..3)), 1..5),
    ) {
        let mut rules: Vec<AccessRule> = Vec::new();
        for rule in begin {
            if !rules.iter().any(|other| other.id == rule.id) {
                rules.push(rule);
            }
        }
        let mut now = image(&state(rules.clone()), &MapImage::default()).unwrap();
        for (adding, removing) in steps {
            let mut removed: Vec<AccessRule> = removing.iter().filter_map(|i| rules.get(*i)).cloned().collect();
            removed.dedup_by_key(|rule| rule.id);
            let mut added: Vec<AccessRule> = Vec::new();
            for rule in adding {
                if added.iter().all(|other| other.id != rule.id) {
                    // One that is there is changed.
                    removed.extend(rules.iter().find(|other| other.id == rule.id && !removed.contains(other)).cloned());
                    added.push(rule);
                }
            }
            let change = RuleChange { removed: &removed, added: &added };
            let whole = change.whole(&rules);
            rules = change.of(&rules).cloned().collect();
            prop_assert_eq!(&rules, &whole);
            let ops = ops(&now, change, rules.iter()).unwrap();
            let whole = image(&state(rules.clone()), &now).unwrap();
            prop_assert!(ops.len() <= diff(&now, &whole).len());

            let before = now.clone();
            let (was, will) = (all_say(&before), all_say(&whole));
            for op in &ops {
                now.write(*op);
                for (i, said) in all_say(&now).into_iter().enumerate() {
                    prop_assert!(said == was[i] || said == will[i], "a third answer after `{op}`");
                }
            }
            prop_assert_eq!(&now, &whole);

            let mut back = now.clone();
            for op in undo(&before, &ops) {
                back.write(op);
            }
            prop_assert_eq!(back, before);
        }
    }
}

fn block(prefix: &str) -> AccessRule {
    AccessRule {
        id: RuleId::derive(&[prefix]),
        scope: Scope::User,
        mode: RuleMode::Block,
        target: Target::Prefix(prefix.parse().unwrap()),
        notes: String::new(),
        simulate: false,
        expires_on: None,
    }
}

#[test]
fn a_rule_that_covers_none_is_one_write_and_its_name() {
    let rules: Vec<AccessRule> = (0..100).map(|i| block(&format!("192.0.2.{i}/32"))).collect();
    let now = image(&state(rules.clone()), &MapImage::default()).unwrap();
    let added = [block("203.0.113.0/24")];
    let all = || rules.iter().chain(&added);
    let writes = ops(&now, RuleChange { removed: &[], added: &added }, all()).unwrap();
    assert!(matches!(writes[..], [Op::Name(NameMap::Rules, 101, _), Op::SetRuleV4(..)]), "{writes:?}");
}

#[test]
fn the_first_rule_of_a_country_tells_the_applications_and_the_next_is_one_write_and_its_name() {
    let country = |code| AccessRule {
        target: Target::Country(Country::new(code).unwrap()),
        id: RuleId::derive(&[code]),
        ..block("::/0")
    };
    let mut now = image(&state(Vec::new()), &MapImage::default()).unwrap();
    let all = [country("FR"), country("DE")];
    let mut change = |from: usize, to| {
        let writes = ops(&now, RuleChange { removed: &[], added: &all[from..to] }, all[..to].iter()).unwrap();
        for op in &writes {
            now.write(*op);
        }
        writes
    };
    let first = change(0, 1);
    let [Op::Name(..), Op::SetClassRule(ClassMap::Country, ..), asks @ ..] = &first[..] else { panic!("{first:?}") };
    let asks = asks.iter().map(|op| matches!(op, Op::SetSteer(_, app) if app.flags & steer_flags::COUNTRY_RULES != 0));
    assert_eq!(asks.collect::<Vec<_>>(), [true, true], "those that have access rules");
    let second = change(1, 2);
    assert!(matches!(second[..], [Op::Name(..), Op::SetClassRule(..)]), "{second:?}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let mut now = image(&state(vec![]), &MapImage::default()).unwrap();
    now.rules = (1..65_536).map(|number| (number, ObjectId { id: u128::from(number).to_be_bytes() })).collect();
    let added = [block("203.0.113.0/24")];
    let error = ops(&now, RuleChange { removed: &[], added: &added }, added.iter()).unwrap_err();
    assert!(matches!(error, ImageError::Exhausted(Exhausted { wanted: 65_536, capacity: 65_535, .. })), "{error:?}");
    now.rules.clear();
    let mapped = |i: u32| Prefix { bits: 64, key: RuleKeyV4 { scope: [0; 4], address: i.to_be_bytes() } };
    now.rules_v4 =
        (0..u32::try_from(limits::RULE_PREFIXES).unwrap()).map(|i| (mapped(i), RuleValue::default())).collect();
    let error = ops(&now, RuleChange { removed: &[], added: &added }, added.iter()).unwrap_err();
    assert_eq!(error, ImageError::RulePrefixes { wanted: limits::RULE_PREFIXES + 1 });
}
