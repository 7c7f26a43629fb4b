//! The origins that an application has right now: one immutable value, replaced as a whole.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use super::{
    Candidate, Endpoint, Wish,
    answer::{Answer, Found, Record},
    balance::{Contender, Order, Unit, score},
    health::Rules,
};
use crate::model::{Balance, DirectOrigin, PortRange};

#[derive(Debug, Default)]
pub(super) struct Set {
    members: Vec<Member>,
    kind: Kind,
}

/// What the members are.
#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    /// Servers of their own.
    #[default]
    Direct,
    /// Addresses of one name, dialled on these ports.
    OfName(PortRange),
    /// Addresses of one name, and each record says its port.
    OfService,
}

#[derive(Clone, Debug)]
struct Member {
    endpoint: Arc<Endpoint>,
    record: Record,
    /// Which members are one origin to the balance: those of one SRV record, or of the name.
    unit: usize,
}

/// Addresses that one connection tries at most.
const MOST_TRIED: usize = 16;

impl Set {
    /// `known`: who was an origin before.
    pub(super) fn direct(origins: &[DirectOrigin], known: &[Arc<Endpoint>]) -> Self {
        let member = |(unit, origin): (usize, &DirectOrigin)| {
            let known = known.iter().find(|endpoint| endpoint.is(origin.address, origin.ports));
            let endpoint = known.map_or_else(|| Arc::new(Endpoint::new(origin.address, origin.ports)), Arc::clone);
            Member { endpoint, record: Record::PLAIN, unit }
        };
        Self { members: origins.iter().enumerate().map(member).collect(), kind: Kind::Direct }
    }

    /// Nothing yet, for a name whose addresses are dialled on `ports`.
    pub(super) fn of_name(ports: Option<PortRange>) -> Self {
        Self { members: Vec::new(), kind: ports.map_or(Kind::OfService, Kind::OfName) }
    }

    pub(super) const fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.members.iter().map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// What a name resolved to.
    pub(super) fn found(&self) -> Vec<Found> {
        let found = |member: &Member| Found { address: member.endpoint.address, record: member.record.clone() };
        self.members.iter().map(found).collect()
    }

    /// What an answer makes of it: who stays keeps what is known of it.
    pub(super) fn renewed(&self, answer: &Answer) -> Self {
        let ports_of = |port: Option<u16>| match (port, self.kind) {
            (Some(port), _) => PortRange::single(port).ok(),
            (None, Kind::OfName(ports)) => Some(ports),
            (None, Kind::Direct | Kind::OfService) => None,
        };
        let mut units = Vec::new();
        let member = |Found { address, record }: &Found| {
            let ports = ports_of(record.port)?;
            let known = self.members.iter().map(|m| &m.endpoint).find(|e| e.is(*address, ports));
            let endpoint = known.map_or_else(|| Arc::new(Endpoint::new(*address, ports)), Arc::clone);
            let unit = units.iter().position(|known| known == record).unwrap_or_else(|| {
                units.push(record.clone());
                units.len() - 1
            });
            Some(Member { endpoint, record: record.clone(), unit })
        };
        Self { members: answer.origins.iter().filter_map(member).collect(), kind: self.kind }
    }

    /// Who came and who went, in words; none where nobody did.
    pub(super) fn difference(&self, after: &Self) -> Option<String> {
        let mut text = String::new();
        for (sign, these, others) in [('+', after, self), ('-', self, after)] {
            for Member { endpoint, .. } in &these.members {
                let there = others.members.iter().any(|m| Arc::ptr_eq(&m.endpoint, endpoint));
                if !there && text.len() < MOST_TOLD {
                    let _ = write!(text, "{sign}{endpoint} ");
                }
            }
        }
        (!text.is_empty()).then(|| format!("{}({} in all)", text, after.len()))
    }

    /// Who may be dialled for a connection, the best first.
    pub(super) fn ordered(&self, wish: &Wish, turn: usize, now: Instant, rules: Rules) -> Vec<Candidate> {
        if let [only] = &*self.members {
            return candidate(only, wish).into_iter().collect();
        }
        let contenders: Vec<Contender> =
            self.members.iter().map(|member| contender(member, wish, now, rules)).collect();
        let order = Order { balance: wish.balance, turn, random: &mut fastrand::f64 };
        let best = order.of(&contenders).into_iter().filter_map(|index| candidate(self.members.get(index)?, wish));
        let best: Vec<Candidate> = best.take(MOST_TRIED).collect();
        if let Some(first) = best.first() {
            first.endpoint.begun(now);
        }
        best
    }
}

fn contender(member: &Member, wish: &Wish, now: Instant, rules: Rules) -> Contender {
    let Member { endpoint, record, unit } = member;
    // A thousand of them for a connection are worth not being computed for nothing.
    let (score, of_unit) = match wish.balance {
        Balance::SourceHash => {
            let own = score(wish.client, &octets(endpoint.address), endpoint.ports.first());
            let of_target = |target: &Arc<str>| score(wish.client, target.as_bytes(), endpoint.ports.first());
            (own, record.target.as_ref().map_or(own, of_target))
        }
        Balance::RoundRobin | Balance::LeastConnections | Balance::Random => (0, 0),
    };
    Contender {
        priority: record.priority,
        unit: Unit { number: *unit, weight: record.weight, score: of_unit },
        open: endpoint.open(),
        standing: endpoint.standing(now, rules),
        is_v6: endpoint.address.is_ipv6(),
        score,
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn candidate(member: &Member, wish: &Wish) -> Option<Candidate> {
    let endpoint = &member.endpoint;
    let port = wish.edge_ports.map(wish.edge_port, endpoint.ports)?;
    Some(Candidate { endpoint: Arc::clone(endpoint), address: SocketAddr::new(endpoint.address, port) })
}

/// Bytes of a log line about a name whose thousand addresses change each time.
const MOST_TOLD: usize = 400;

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use super::*;

    fn answer(addresses: &[&str]) -> Answer {
        let found = |address: &&str| Found { address: address.parse().unwrap(), record: Record::PLAIN };
        Answer { origins: addresses.iter().map(found).collect(), ttl: Duration::from_mins(1) }
    }

    /// Target, weight, and how many addresses it has of IPv4 and of IPv6.
    fn services(targets: &[(&str, u16, u8, u8)]) -> Set {
        let mut origins = Vec::new();
        for (number, (target, weight, v4, v6)) in (0_u8..).zip(targets) {
            let record = Record { target: Some((*target).into()), port: Some(7), priority: 0, weight: *weight };
            let v4 = (0..*v4).map(|n| IpAddr::from([192, 0, number, n]));
            let v6 = (0..*v6).map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, number.into(), n.into()]));
            origins.extend(v6.chain(v4).map(|address| Found { address, record: record.clone() }));
        }
        Set::of_name(None).renewed(&Answer { origins, ttl: Duration::from_mins(1) })
    }

    /// How often each target is the first, and whether each address of it is at some time.
    fn firsts(set: &Set, balance: Balance) -> (HashMap<String, usize>, usize) {
        let (mut targets, mut addresses) = (HashMap::new(), HashMap::<IpAddr, usize>::new());
        for turn in 0..4000_u32 {
            let edge_ports = PortRange::single(7).unwrap();
            let client = IpAddr::from((turn * 7919).to_be_bytes());
            let wish = Wish { client, edge_port: 7, edge_ports, balance };
            let all = set.ordered(&wish, turn as usize, Instant::now(), Rules::of(None));
            let target = set.members.iter().find(|m| m.endpoint.address == all[0].endpoint.address).unwrap();
            *targets.entry(target.record.target.as_deref().unwrap().to_owned()).or_default() += 1;
            *addresses.entry(all[0].endpoint.address).or_default() += 1;
        }
        (targets, addresses.len())
    }

    #[test]
    fn a_weight_is_the_targets_however_many_addresses_it_has() {
        let sets = [
            services(&[("a.", 3, 1, 0), ("b.", 1, 5, 0)]),
            services(&[("a.", 3, 1, 0), ("b.", 1, 0, 3)]),
            services(&[("a.", 3, 4, 4), ("b.", 1, 1, 0)]),
        ];
        for (number, set) in sets.iter().enumerate() {
            for balance in [Balance::RoundRobin, Balance::Random, Balance::SourceHash] {
                let (targets, _) = firsts(set, balance);
                assert!((2800..3200).contains(&targets["a."]), "{number} {balance:?}: {targets:?}");
            }
        }
    }

    #[test]
    fn targets_of_one_weight_take_turns_and_so_do_the_addresses_of_each() {
        for weight in [0, 1, 10] {
            let (targets, addresses) =
                firsts(&services(&[("a.", weight, 2, 0), ("b.", weight, 3, 0)]), Balance::RoundRobin);
            assert_eq!((targets["a."], targets["b."], addresses), (2000, 2000, 5));
        }
    }

    #[test]
    fn a_target_of_no_weight_is_met_seldom() {
        let (targets, _) = firsts(&services(&[("a.", 10, 1, 0), ("b.", 0, 1, 0)]), Balance::RoundRobin);
        assert!(targets.get("b.").is_none_or(|times| *times < 40), "{targets:?}");
    }

    #[test]
    fn who_is_busy_is_a_target_and_not_an_address_of_it() {
        let set = services(&[("a.", 1, 2, 0), ("b.", 1, 1, 0)]);
        let _busy: Vec<_> = set.members.iter().map(|member| member.endpoint.lease()).collect();
        let (targets, _) = firsts(&set, Balance::LeastConnections);
        assert_eq!(targets["b."], 4000, "it has one connection, the other target two");
    }

    fn dialled(set: &Set, first: u16, last: u16, edge_port: u16, turn: usize) -> Vec<String> {
        let wish = Wish {
            client: IpAddr::from([192, 0, 2, 9]),
            edge_port,
            edge_ports: PortRange::new(first, last).unwrap(),
            balance: Balance::RoundRobin,
        };
        let candidates = set.ordered(&wish, turn, Instant::now(), Rules::of(None));
        candidates.iter().map(|candidate| candidate.address.to_string()).collect()
    }

    #[test]
    fn origins_take_turns_and_ports_keep_their_offset() {
        let set = Set::direct(
            &["tcp://192.0.2.1:3000-4000".parse().unwrap(), "tcp://[2001:db8::1]:1000-2000".parse().unwrap()],
            &[],
        );
        assert_eq!(dialled(&set, 1000, 2000, 1005, 0), ["192.0.2.1:3005", "[2001:db8::1]:1005"]);
        assert_eq!(dialled(&set, 1000, 2000, 1005, 1), ["[2001:db8::1]:1005", "192.0.2.1:3005"]);
        assert_eq!(dialled(&set, 1000, 2000, 2000, 2), ["192.0.2.1:4000", "[2001:db8::1]:2000"]);
        assert!(dialled(&set, 1000, 2000, 999, 0).is_empty());
    }

    #[test]
    fn who_stays_in_an_answer_stays_the_same_value() {
        let before = Set::of_name(Some(PortRange::single(22).unwrap())).renewed(&answer(&["192.0.2.1", "192.0.2.2"]));
        let lease = before.members[1].endpoint.lease();
        let after = before.renewed(&answer(&["192.0.2.2", "192.0.2.3"]));
        assert_eq!(after.members[0].endpoint.open(), 1);
        assert_eq!(before.difference(&after).unwrap(), "+192.0.2.3:22 -192.0.2.1:22 (2 in all)");
        assert_eq!(after.difference(&after.renewed(&answer(&["192.0.2.3", "192.0.2.2"]))), None);
        drop(lease);
    }

    #[test]
    fn a_connection_tries_a_bounded_number() {
        let many: Vec<String> = (1..=200).map(|n| format!("192.0.2.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let set = Set::of_name(Some(PortRange::single(22).unwrap())).renewed(&answer(&many));
        assert_eq!(dialled(&set, 22, 22, 22, 0).len(), MOST_TRIED);
    }
}
