//! Whom no automatic rule may name, and whom one would hit.

use std::{cell::OnceCell, collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use spectrum_common::geo::Class;

use super::{logins, ssh};
use crate::{
    geo::Databases,
    model::{AccessRule, DesiredState, RuleMode, Scope, Target},
    proxy::{AppTable, Arrivals},
    rules::{Book, RuleSource},
    shield::{Bystanders, takes_in},
    state,
};

/// A network or country in which more than one in so many of the clients are that are being served is spared.
const SERVED_SHARE: usize = 10;

/// As things are now. What takes long to find out is found out when it is needed, which is rare.
pub(super) struct Spared<'a> {
    book: &'a Book,
    desired: Arc<DesiredState>,
    /// Knows which origins there are now.
    table: Arc<AppTable>,
    geo: Arc<Databases>,
    arrivals: Arrivals,
    /// Addresses of this host.
    own: OnceCell<Vec<IpAddr>>,
    /// Where operators are: to find that out the kernel walks through its whole table of connections.
    operators: OnceCell<Vec<IpAddr>>,
    /// Clients that are being served, by class.
    served: OnceCell<HashMap<Class, usize>>,
}

impl<'a> Spared<'a> {
    pub(super) fn new(
        book: &'a Book,
        desired: Arc<DesiredState>,
        table: Arc<AppTable>,
        geo: Arc<Databases>,
        arrivals: Arrivals,
    ) -> Self {
        let (own, operators, served) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { book, desired, table, geo, arrivals, own, operators, served }
    }

    /// A prefix meets the addresses that it holds, a class those that are of it.
    fn meets(&self, target: Target, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match target {
            Target::Prefix(prefix) => prefix.contains(&address),
            Target::Asn(_) | Target::Country(_) => takes_in(target, self.geo.table.class(address)),
        }
    }

    /// A rule by address, network or country that decides about the target already.
    fn ruled(&self, target: Target) -> Option<&'static str> {
        let is_auto =
            |rule: &AccessRule| self.book.facts(rule.id).is_some_and(|facts| facts.source == RuleSource::Auto);
        let acts = |rule: &AccessRule| rule.scope == Scope::User && rule.mode == RuleMode::Block && !rule.simulate;
        let meet = |one: IpNet, other: IpNet| one.contains(&other) || other.contains(&one);
        self.desired.rules.iter().find_map(|rule| {
            let (meets, covers) = match (rule.target, target) {
                (Target::Prefix(prefix), Target::Prefix(target)) => (meet(prefix, target), prefix.contains(&target)),
                // An allow rule about some of a class is what lets them through whatever is said of the class.
                (of_rule, target) => (of_rule == target, of_rule == target),
            };
            let is_same = rule.scope == Scope::User && rule.target == target;
            match rule.mode {
                RuleMode::Allow if meets => Some("an allow rule names it"),
                _ if acts(rule) && covers => Some("a rule names it"),
                // What others try is theirs. The daemon's own may give way to each other.
                _ if is_same && !is_auto(rule) => Some("a rule names it"),
                _ => None,
            }
        })
    }

    fn is_own(&self, target: Target) -> bool {
        let apps = &self.desired.applications;
        let edges = apps.iter().flat_map(|app| app.addresses.iter().copied());
        let holds_pool = |pool: &IpNet| {
            let inside = matches!(target, Target::Prefix(target) if pool.contains(&target));
            inside || self.meets(target, pool.network())
        };
        let meets_any = |addresses: &[IpAddr]| addresses.iter().any(|address| self.meets(target, *address));
        // What is quick to know first.
        self.desired.edge.pools.iter().any(holds_pool)
            || edges.into_iter().any(|address| self.meets(target, address))
            || meets_any(&self.table.origin_addresses())
            || meets_any(self.own.get_or_init(|| state::host_addresses().unwrap_or_default()))
            || meets_any(self.operators.get_or_init(|| [ssh::addresses(), logins::addresses()].concat()))
    }

    fn is_served(&self, target: Target) -> bool {
        match target {
            Target::Prefix(prefix) => self.arrivals.serve_any_of(prefix),
            Target::Asn(_) | Target::Country(_) => {
                let (inside, all) = self.served(target);
                inside * SERVED_SHARE > all
            }
        }
    }
}

impl Bystanders for Spared<'_> {
    fn class(&self, address: IpAddr) -> Option<Class> {
        (!self.geo.files.is_empty()).then(|| self.geo.table.class(address))
    }

    fn spares(&self, target: Target) -> Option<&'static str> {
        if let Some(why) = self.ruled(target) {
            return Some(why);
        }
        if self.is_served(target) {
            return Some("a client in it is being served");
        }
        self.is_own(target).then_some("it is an address of this node, of an origin or of an operator")
    }

    fn served(&self, target: Target) -> (usize, usize) {
        let classes = self.served.get_or_init(|| {
            let mut classes = HashMap::new();
            for client in self.arrivals.served() {
                *classes.entry(self.geo.table.class(client)).or_default() += 1;
            }
            classes
        });
        let inside = classes.iter().filter(|(class, _)| takes_in(target, **class)).map(|(_, count)| count);
        (inside.sum(), classes.values().sum())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use spectrum_common::geo::country;

    use super::*;
    use crate::{
        geo::Table,
        model::{Country, RuleId},
        proxy::testing::application,
        rules::Facts,
        telemetry::Metrics,
    };

    fn rule(mode: RuleMode, target: Target, simulate: bool) -> AccessRule {
        let id = RuleId::derive(&[&format!("{mode:?} {target}")]);
        AccessRule { id, scope: Scope::User, mode, target, notes: String::new(), simulate, expires_on: None }
    }

    fn country_of(code: &str) -> Target {
        Target::Country(Country::new(code).unwrap())
    }

    /// The origin of [`application`] is in AS64500 in France.
    fn databases() -> Arc<Databases> {
        let class = |asn, letters: &[u8; 2]| Class { asn, country: country(*letters) };
        let networks = [("192.0.2.0/24", class(64500, b"FR")), ("198.51.100.0/24", class(64501, b"DE"))];
        let table = Table::of(&networks.map(|(network, class)| (network.parse().unwrap(), class))).unwrap();
        Arc::new(Databases { table: Arc::new(table), files: Vec::new() })
    }

    fn spares(rules: Vec<AccessRule>, auto: &[AccessRule], target: Target) -> bool {
        let mut book = Book::default();
        for rule in auto {
            book.insert(rule.id, Facts::new(RuleSource::Auto, rule, SystemTime::now()));
        }
        let desired = DesiredState { applications: vec![application(443, 443)], rules, ..DesiredState::default() };
        let table =
            Arc::new(AppTable::new(&desired, databases(), &crate::tls::Shared::default(), None, &Metrics::new(1)));
        Spared::new(&book, Arc::new(desired), table, databases(), Arrivals::new(1)).spares(target).is_some()
    }

    #[test]
    fn where_the_house_is_nobody_is_blamed() {
        assert!(spares(Vec::new(), &[], Target::Asn(64500)) && spares(Vec::new(), &[], country_of("FR")));
        assert!(!spares(Vec::new(), &[], Target::Asn(64501)) && !spares(Vec::new(), &[], country_of("DE")));
        assert!(spares(Vec::new(), &[], Target::Prefix("192.0.2.0/24".parse().unwrap())));
    }

    #[test]
    fn whom_another_names_is_left_to_that_one_and_what_is_its_own_may_give_way() {
        let germany = country_of("DE");
        for (mode, simulate) in [(RuleMode::Allow, false), (RuleMode::Block, false), (RuleMode::Block, true)] {
            assert!(spares(vec![rule(mode, germany, simulate)], &[], germany), "{mode:?} {simulate}");
        }
        let own = rule(RuleMode::Block, germany, true);
        assert!(!spares(vec![own.clone()], &[own], germany));
        let host = Target::Prefix("198.51.100.7/32".parse().unwrap());
        assert!(
            !spares(vec![rule(RuleMode::Allow, host, false)], &[], germany),
            "it passes whatever is said of others"
        );
        let wide = Target::Prefix("198.51.0.0/16".parse().unwrap());
        assert!(
            !spares(vec![rule(RuleMode::Block, wide, true)], &[], host),
            "who is tried with others may be tried alone"
        );
        assert!(spares(vec![rule(RuleMode::Block, wide, false)], &[], host));
    }
}
