//! IP access rules in userspace: the backstop behind XDP, and what reaches connections that are already open.
//!
//! Same answer as the kernel's tries. Here every prefix says what its own rules say, and who asks reads all that cover
//! the source: they are on the way to it. So a rule that comes or goes changes one value.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use spectrum_common::geo::{self, Class};

use crate::model::{AccessRule, RuleId, RuleMode, Scope, Target, ZoneId};

/// All rules of one desired state. A clone shares what is not changed.
#[derive(Clone, Debug, Default)]
pub struct AccessRules {
    user: Scoped,
    zones: HashMap<ZoneId, Scoped>,
}

/// What the rules say about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No rule speaks of it.
    NoRule,
    Allowed(RuleId, By),
    Blocked(RuleId, By),
}

/// What of a source a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Address,
    Asn,
    Country,
}

/// The rules of one scope.
#[derive(Clone, Debug, Default)]
struct Scoped {
    v4: Arc<PrefixMap<Ipv4Net, Says>>,
    v6: Arc<PrefixMap<Ipv6Net, Says>>,
    asns: Arc<HashMap<u32, Says>>,
    /// By the number that the table of networks and countries has for one.
    countries: Arc<HashMap<u32, Says>>,
}

/// What is said of a source: of each mode the most specific rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Says {
    allow: Option<(Rank, RuleId)>,
    block: Option<(Rank, RuleId)>,
}

/// The more specific is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Country,
    Asn,
    /// By its length.
    Prefix(u8),
}

impl AccessRules {
    pub fn new(rules: &[AccessRule]) -> Self {
        let mut built = Self::default();
        for rule in rules {
            let said = Says::of(rule);
            if said != Says::default() {
                built.scoped(rule.scope).update(rule.target, |says| says.merge(said));
            }
        }
        built
    }

    /// As it is after a change that concerns these rules; `rules` are all that there are then.
    #[must_use]
    pub fn changed<'a>(
        &self,
        concerned: impl Iterator<Item = &'a AccessRule>,
        rules: &(impl Iterator<Item = &'a AccessRule> + Clone),
    ) -> Self {
        let mut changed = self.clone();
        for rule in concerned {
            let same = rules.clone().filter(|other| other.target == rule.target && other.scope == rule.scope);
            let says = same.map(Says::of).fold(Says::default(), Says::merge);
            changed.scoped(rule.scope).update(rule.target, |_| says);
        }
        changed
    }

    pub fn is_empty(&self) -> bool {
        self.user.is_empty() && self.zones.values().all(Scoped::is_empty)
    }

    /// What the rules of every zone and of this one say about a canonical source: allow beats block. `class` is asked
    /// where a rule is by network or country.
    pub fn decide(&self, zone: ZoneId, source: IpAddr, class: impl FnOnce() -> Class) -> Access {
        let scopes = [Some(&self.user), self.zones.get(&zone)];
        let scopes = || scopes.into_iter().flatten();
        let mut says = scopes().map(|scope| scope.says(source)).fold(Says::default(), Says::merge);
        if scopes().any(Scoped::asks_class) {
            let class = class();
            says = scopes().map(|scope| scope.says_of(class)).fold(says, Says::merge);
        }
        match (says.allow, says.block) {
            (Some((rank, rule)), _) => Access::Allowed(rule, rank.by()),
            (None, Some((rank, rule))) => Access::Blocked(rule, rank.by()),
            (None, None) => Access::NoRule,
        }
    }

    fn scoped(&mut self, scope: Scope) -> &mut Scoped {
        match scope {
            Scope::User => &mut self.user,
            Scope::Zone(zone) => self.zones.entry(zone).or_default(),
        }
    }
}

impl Scoped {
    /// Changes what is said of a target.
    fn update(&mut self, target: Target, change: impl FnOnce(Says) -> Says) {
        match target {
            Target::Prefix(IpNet::V4(prefix)) => update(Arc::make_mut(&mut self.v4), prefix, change),
            Target::Prefix(IpNet::V6(prefix)) => update(Arc::make_mut(&mut self.v6), prefix, change),
            Target::Asn(number) => update_class(Arc::make_mut(&mut self.asns), number, change),
            Target::Country(country) => {
                update_class(Arc::make_mut(&mut self.countries), geo::country(country.bytes()), change);
            }
        }
    }

    fn asks_class(&self) -> bool {
        !self.asns.is_empty() || !self.countries.is_empty()
    }

    fn says_of(&self, class: Class) -> Says {
        let asn = self.asns.get(&class.asn).copied().unwrap_or_default();
        asn.merge(self.countries.get(&class.country).copied().unwrap_or_default())
    }

    fn says(&self, source: IpAddr) -> Says {
        // The more specific come later, and win.
        match source {
            IpAddr::V4(v4) => self.v4.cover_values(&v4.into()).copied().fold(Says::default(), Says::merge),
            IpAddr::V6(v6) => self.v6.cover_values(&v6.into()).copied().fold(Says::default(), Says::merge),
        }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && !self.asks_class()
    }
}

fn update<P: prefix_trie::Prefix>(map: &mut PrefixMap<P, Says>, prefix: P, change: impl FnOnce(Says) -> Says) {
    let says = change(map.get(&prefix).copied().unwrap_or_default());
    if says == Says::default() {
        map.remove(&prefix);
    } else {
        map.insert(prefix, says);
    }
}

fn update_class(classes: &mut HashMap<u32, Says>, number: u32, change: impl FnOnce(Says) -> Says) {
    let says = change(classes.get(&number).copied().unwrap_or_default());
    if says == Says::default() {
        classes.remove(&number);
    } else {
        classes.insert(number, says);
    }
}

impl Rank {
    fn of(target: Target) -> Self {
        match target {
            Target::Prefix(prefix) => Self::Prefix(prefix.prefix_len()),
            Target::Asn(_) => Self::Asn,
            Target::Country(_) => Self::Country,
        }
    }

    const fn by(self) -> By {
        match self {
            Self::Country => By::Country,
            Self::Asn => By::Asn,
            Self::Prefix(_) => By::Address,
        }
    }
}

impl Says {
    /// What one rule says. What is only tried is the filter's to count.
    fn of(rule: &AccessRule) -> Self {
        let said = (!rule.simulate).then(|| (Rank::of(rule.target), rule.id));
        match rule.mode {
            RuleMode::Allow => Self { allow: said, block: None },
            RuleMode::Block => Self { allow: None, block: said },
            RuleMode::Challenge => Self::default(),
        }
    }

    /// Of each mode the most specific of both; the first where they are equal.
    fn merge(self, other: Self) -> Self {
        let longer = |a: Option<(Rank, RuleId)>, b: Option<(Rank, RuleId)>| match (a, b) {
            (Some(a), Some(b)) => Some(if b.0 > a.0 { b } else { a }),
            (a, b) => a.or(b),
        };
        Self { allow: longer(self.allow, other.allow), block: longer(self.block, other.block) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Country;

    fn nowhere() -> Class {
        Class::UNKNOWN
    }

    fn rule(scope: Scope, mode: RuleMode, prefix: &str) -> AccessRule {
        let target = match (prefix.strip_prefix("AS"), Country::new(prefix)) {
            (Some(number), _) => Target::Asn(number.parse().unwrap()),
            (None, Some(country)) => Target::Country(country),
            (None, None) => Target::Prefix(prefix.parse().unwrap()),
        };
        let id = RuleId::derive(&[&format!("{scope:?} {mode:?} {prefix}")]);
        AccessRule { id, scope, mode, target, notes: String::new(), simulate: false, expires_on: None }
    }

    fn zone(name: &str) -> ZoneId {
        ZoneId::derive(&[name])
    }

    #[test]
    fn allow_beats_block_whatever_the_lengths_and_scopes() {
        let block = rule(Scope::User, RuleMode::Block, "192.0.2.7/32");
        let allow = rule(Scope::Zone(zone("a")), RuleMode::Allow, "192.0.2.0/24");
        let rules = AccessRules::new(&[block.clone(), allow.clone()]);
        assert_eq!(
            rules.decide(zone("a"), "192.0.2.7".parse().unwrap(), nowhere),
            Access::Allowed(allow.id, By::Address)
        );
        assert_eq!(
            rules.decide(zone("b"), "192.0.2.7".parse().unwrap(), nowhere),
            Access::Blocked(block.id, By::Address)
        );
        assert_eq!(rules.decide(zone("b"), "192.0.2.8".parse().unwrap(), nowhere), Access::NoRule);
    }

    #[test]
    fn the_most_specific_rule_is_reported() {
        let wide = rule(Scope::User, RuleMode::Block, "2001:db8::/32");
        let narrow = rule(Scope::User, RuleMode::Block, "2001:db8::/64");
        let rules = AccessRules::new(&[narrow.clone(), wide.clone()]);
        assert_eq!(
            rules.decide(zone("a"), "2001:db8::1".parse().unwrap(), nowhere),
            Access::Blocked(narrow.id, By::Address)
        );
        assert_eq!(
            rules.decide(zone("a"), "2001:db8:1::1".parse().unwrap(), nowhere),
            Access::Blocked(wide.id, By::Address)
        );
    }

    #[test]
    fn networks_and_countries_are_named_after_prefixes() {
        let of = |asn, country: &'static str| {
            move || Class { asn, country: geo::country(country.as_bytes().try_into().unwrap()) }
        };
        let source = "192.0.2.7".parse().unwrap();
        let blocks = ["192.0.2.0/24", "AS64500", "DE"].map(|target| rule(Scope::User, RuleMode::Block, target));
        let [prefix, network, country] = blocks.clone();
        let rules = AccessRules::new(&blocks);
        assert_eq!(rules.decide(zone("a"), source, of(64500, "DE")), Access::Blocked(prefix.id, By::Address));
        let rules = AccessRules::new(&blocks[1..]);
        assert_eq!(rules.decide(zone("a"), source, of(64500, "DE")), Access::Blocked(network.id, By::Asn));
        assert_eq!(rules.decide(zone("a"), source, of(64501, "DE")), Access::Blocked(country.id, By::Country));
        assert_eq!(rules.decide(zone("a"), source, of(64501, "FR")), Access::NoRule);
        let without = rules.changed(std::iter::once(&country), &std::iter::once(&network));
        assert_eq!(without.decide(zone("a"), source, of(64501, "DE")), Access::NoRule);
    }

    #[test]
    fn an_allowed_country_beats_a_blocked_address() {
        let block = rule(Scope::User, RuleMode::Block, "192.0.2.7/32");
        let allow = rule(Scope::Zone(zone("a")), RuleMode::Allow, "DE");
        let rules = AccessRules::new(&[block.clone(), allow.clone()]);
        let germany = || Class { asn: 0, country: geo::country(*b"DE") };
        let source = "192.0.2.7".parse().unwrap();
        assert_eq!(rules.decide(zone("a"), source, germany), Access::Allowed(allow.id, By::Country));
        assert_eq!(rules.decide(zone("b"), source, germany), Access::Blocked(block.id, By::Address));
    }

    #[test]
    fn challenges_speak_of_nobody() {
        let rules = AccessRules::new(&[rule(Scope::User, RuleMode::Challenge, "0.0.0.0/0")]);
        assert!(rules.is_empty());
        assert_eq!(rules.decide(zone("a"), "192.0.2.7".parse().unwrap(), nowhere), Access::NoRule);
    }

    fn any_rule() -> impl Strategy<Value = AccessRule> {
        let scope = prop_oneof![Just(Scope::User), Just(Scope::Zone(zone("a"))), Just(Scope::Zone(zone("b")))];
        let mode = prop_oneof![Just(RuleMode::Allow), Just(RuleMode::Block), Just(RuleMode::Challenge)];
        // Few bits that vary, so that prefixes cover one another.
        (scope, mode, 0u32..16, 24u8..=32).prop_map(|(scope, mode, last, length)| {
            let prefix = Ipv4Net::new((0xc000_0200 | last).into(), length).unwrap().trunc();
            rule(scope, mode, &prefix.to_string())
        })
    }

    proptest! {
        #[test]
        fn says_what_reading_every_rule_says(rules in prop::collection::vec(any_rule(), 0..12), last in 0u32..16) {
            let source: IpAddr = std::net::Ipv4Addr::from(0xc000_0200 | last).into();
            let speak = |mode: RuleMode| {
                rules.iter().any(|rule| {
                    rule.mode == mode
                        && matches!(rule.scope, Scope::User | Scope::Zone(_) if rule.scope == Scope::User || rule.scope == Scope::Zone(zone("a")))
                        && rule.target.prefix().is_some_and(|prefix| prefix.contains(&source))
                })
            };
            let said = AccessRules::new(&rules).decide(zone("a"), source, nowhere);
            let expected = if speak(RuleMode::Allow) { "allowed" } else if speak(RuleMode::Block) { "blocked" } else { "no rule" };
            let word = match said {
                Access::Allowed(..) => "allowed",
                Access::Blocked(..) => "blocked",
                Access::NoRule => "no rule",
            };
            prop_assert_eq!(word, expected);
        }

        #[test]
        fn a_change_gives_what_building_anew_gives(
            rules in prop::collection::vec(any_rule(), 0..12), change in prop::collection::vec(any_rule(), 1..4), gone in 0usize..12
        ) {
            let mut rules = rules;
            let before = AccessRules::new(&rules);
            let removed: Vec<AccessRule> = rules.splice(gone.min(rules.len()).., []).collect();
            rules.extend(change.iter().cloned());
            let changed = before.changed(removed.iter().chain(&change), &rules.iter());
            let anew = AccessRules::new(&rules);
            for last in 0..16 {
                let source: IpAddr = std::net::Ipv4Addr::from(0xc000_0200 | last).into();
                for zone in [zone("a"), zone("b")] {
                    prop_assert_eq!(changed.decide(zone, source, nowhere), anew.decide(zone, source, nowhere));
                }
            }
            prop_assert_eq!(changed.is_empty(), anew.is_empty());
        }
    }
}
