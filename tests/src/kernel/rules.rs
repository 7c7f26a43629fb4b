//! Access rules, and the table of networks and countries that some of them ask.

use std::{collections::BTreeMap, io::ErrorKind, net::IpAddr};

use aya::{
    Pod,
    maps::{ArrayOfMaps, HashMap, LpmTrie, Map, MapError, lpm_trie::Key},
};
use ipnet::IpNet;
use spectrum_common::{
    geo::{self, Class},
    layout::{ClassKey, RuleKeyV4, RuleKeyV6, RuleValue, SCOPE_USER},
    names,
};
use spectrum_user::{
    dataplane::{geo::array, image::Prefix, maps::TableArray, rule_table::RuleTable},
    geo::Table,
    model::{GeoMemory, Target},
};

use super::Kernel;

#[derive(Clone, Copy)]
pub(super) struct Rule {
    scope: u32,
    prefix: IpNet,
    says: Says,
    number: u32,
}

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Allow,
    Block,
    Simulate,
}

impl Kernel {
    /// A block rule for every zone; gives its number.
    pub fn block(&mut self, prefix: &str) -> u32 {
        self.rule(SCOPE_USER, prefix, Says::Block)
    }

    /// An allow rule for every zone; gives its number.
    pub fn allow(&mut self, prefix: &str) -> u32 {
        self.rule(SCOPE_USER, prefix, Says::Allow)
    }

    /// A block rule for every zone that is only tried.
    pub fn simulate(&mut self, prefix: &str) -> u32 {
        self.rule(SCOPE_USER, prefix, Says::Simulate)
    }

    pub fn block_in(&mut self, zone: u32, prefix: &str) -> u32 {
        self.rule(zone, prefix, Says::Block)
    }

    pub fn allow_in(&mut self, zone: u32, prefix: &str) -> u32 {
        self.rule(zone, prefix, Says::Allow)
    }

    /// Takes all access rules out again.
    pub fn forget_rules(&mut self) {
        for rule in std::mem::take(&mut self.rules) {
            self.set_rule(rule.scope, rule.prefix, None);
        }
        self.tabulate();
    }

    fn rule(&mut self, scope: u32, prefix: &str, says: Says) -> u32 {
        let number = u32::try_from(self.rules.len()).unwrap() + 1;
        let prefix =
            prefix.parse::<IpNet>().unwrap_or_else(|_| IpNet::from(prefix.parse::<IpAddr>().expect("a prefix")));
        self.rules.push(Rule { scope, prefix, says, number });
        // A value speaks for every prefix that covers it: the new rule may change those that it covers.
        let prefixes: Vec<_> = self.rules.iter().filter(|rule| rule.scope == scope).map(|rule| rule.prefix).collect();
        for prefix in prefixes {
            let most_specific = |says: Says| {
                let speaks = |rule: &&Rule| rule.scope == scope && rule.says == says && rule.prefix.contains(&prefix);
                self.rules
                    .iter()
                    .filter(speaks)
                    .max_by_key(|rule| rule.prefix.prefix_len())
                    .map_or(0, |rule| rule.number)
            };
            let value = RuleValue {
                allow: most_specific(Says::Allow),
                block: most_specific(Says::Block),
                simulate: most_specific(Says::Simulate),
            };
            self.set_rule(scope, prefix, Some(value));
        }
        self.tabulate();
        number
    }

    /// Lets a table say what the tries say, as the daemon does.
    fn tabulate(&mut self) {
        self.put_rule_table(&RuleTable::of(&self.image).expect("a table"));
    }

    /// Lets the tries be asked.
    pub fn without_table(&mut self) {
        self.put_rule_table(&RuleTable::that_asks().expect("a table"));
    }

    pub fn put_rule_table(&mut self, table: &RuleTable) {
        let mut map: ArrayOfMaps<_, TableArray> = self.ebpf.map_mut(names::RULE_TABLE).unwrap().try_into().unwrap();
        map.set(0, table.array(), 0).expect("write RULE_TABLE");
    }

    /// Writes a prefix, or takes it out where it has no value.
    fn set_rule(&mut self, scope: u32, prefix: IpNet, value: Option<RuleValue>) {
        let (scope, bits) = (scope.to_be_bytes(), 32 + u32::from(prefix.prefix_len()));
        match prefix.network() {
            IpAddr::V4(network) => {
                let key = RuleKeyV4 { scope, address: network.octets() };
                note(&mut self.image.rules_v4, Prefix { bits, key }, value);
                set(self.ebpf.map_mut(names::RULES_V4).unwrap(), &Key::new(bits, key), value);
            }
            IpAddr::V6(network) => {
                let key = RuleKeyV6 { scope, address: network.octets() };
                note(&mut self.image.rules_v6, Prefix { bits, key }, value);
                set(self.ebpf.map_mut(names::RULES_V6).unwrap(), &Key::new(bits, key), value);
            }
        }
    }

    /// Writes a rule by network or country; `number` of another rule of the same target and mode takes its place.
    pub fn class_rule(&mut self, scope: u32, target: Target, value: RuleValue) {
        let (name, number) = match target {
            Target::Asn(number) => (names::ASN_RULES, number),
            Target::Country(country) => (names::COUNTRY_RULES, geo::country(country.bytes())),
            Target::Prefix(_) => panic!("a prefix has its own rules"),
        };
        let mut map: HashMap<_, ClassKey, RuleValue> = self.ebpf.map_mut(name).unwrap().try_into().unwrap();
        map.insert(ClassKey { scope, number }, value, 0).expect("write a rule");
    }

    /// Puts a table of networks and countries in place.
    pub fn networks(&mut self, networks: &[(&str, u32, &str)], memory: GeoMemory) {
        let networks: Vec<(IpNet, Class)> = networks
            .iter()
            .map(|(network, asn, country)| {
                let country = geo::country(country.as_bytes().try_into().expect("two letters"));
                (network.parse().expect("a prefix"), Class { asn: *asn, country })
            })
            .collect();
        self.table(&Table::of(&networks).expect("a table"), memory);
    }

    /// As [`Self::networks`].
    pub fn table(&mut self, table: &Table, memory: GeoMemory) {
        let mut map: ArrayOfMaps<_, TableArray> = self.ebpf.map_mut(names::GEO).unwrap().try_into().unwrap();
        map.set(0, &array(table, memory).expect("an array"), 0).expect("write GEO");
    }
}

fn note<K: Ord>(rules: &mut BTreeMap<K, RuleValue>, key: K, value: Option<RuleValue>) {
    match value {
        Some(value) => rules.insert(key, value),
        None => rules.remove(&key),
    };
}

fn set<K: Pod>(map: &mut Map, key: &Key<K>, value: Option<RuleValue>) {
    let mut trie: LpmTrie<_, K, RuleValue> = map.try_into().unwrap();
    match value {
        Some(value) => trie.insert(key, value, 0).expect("write a rule"),
        None => match trie.remove(key) {
            // Two rules had one prefix, and it went with the first.
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("remove a rule: {error}"),
        },
    }
}
