//! In which order origins are tried for a connection: pure, chance is passed in.

use std::{cmp::Ordering, net::IpAddr};

use super::health::Standing;
use crate::model::Balance;

/// What the choice depends on, of one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    /// Lower ones first (RFC 2782).
    pub(super) priority: u16,
    /// Which origin it is an address of.
    pub(super) unit: Unit,
    pub(super) open: usize,
    pub(super) standing: Standing,
    pub(super) is_v6: bool,
    /// For `SourceHash`: the same for one client and this address always; evenly spread over all.
    pub(super) score: u64,
}

/// Addresses that are one origin to the balance: a target of SRV records has its weight once, however many it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) number: usize,
    pub(super) weight: u16,
    /// As a contender's.
    pub(super) score: u64,
}

/// How they are put in order.
pub(super) struct Order<'a> {
    pub(super) balance: Balance,
    pub(super) turn: usize,
    /// From 0 to 1.
    pub(super) random: &'a mut dyn FnMut() -> f64,
}

/// What is compared with its like: a unit, or an address within one.
struct Choice<T> {
    weight: u16,
    open: usize,
    score: u64,
    what: T,
}

impl Order<'_> {
    /// Indices of all contenders, the best first: by priority, one that is to be tried before those that live; then, as a last
    /// resort, the dead.
    pub(super) fn of(mut self, contenders: &[Contender]) -> Vec<usize> {
        let mut all: Vec<(usize, Contender)> = contenders.iter().copied().enumerate().collect();
        let rank = |(_, c): &(usize, Contender)| (c.standing == Standing::Down, c.priority, c.standing);
        all.sort_by_key(|one| (rank(one), one.1.unit.number));
        let mut ordered = Vec::with_capacity(all.len());
        for group in all.chunk_by(|one, other| rank(one) == rank(other)) {
            let units =
                group.chunk_by(|(_, one), (_, other)| one.unit.number == other.unit.number).filter_map(|unit| {
                    let Unit { weight, score, .. } = unit.first()?.1.unit;
                    Some(Choice { weight, score, open: unit.iter().map(|(_, c)| c.open).sum(), what: unit })
                });
            let units: Vec<_> = units.collect();
            // A unit whose turn comes with every second connection has not only its even turns.
            let turn = self.turn / units.len().max(1);
            for unit in self.sorted(units, self.turn) {
                self.within(unit, turn, &mut ordered);
            }
        }
        ordered
    }

    /// The addresses of one: the families alternate, IPv6 first (RFC 8305, section 4).
    fn within(&mut self, unit: &[(usize, Contender)], turn: usize, ordered: &mut Vec<usize>) {
        if let [(only, _)] = unit {
            return ordered.push(*only);
        }
        let mut families = [true, false].map(|is_v6| {
            let family = unit.iter().filter(|(_, c)| c.is_v6 == is_v6);
            let family = family.map(|(index, c)| Choice { weight: 1, open: c.open, score: c.score, what: *index });
            self.sorted(family.collect(), turn).into_iter()
        });
        let end = ordered.len() + unit.len();
        while ordered.len() < end {
            ordered.extend(families.iter_mut().filter_map(Iterator::next));
        }
    }

    fn sorted<T>(&mut self, choices: Vec<Choice<T>>, turn: usize) -> Vec<T> {
        let mut even = choices.iter().map(|choice| choice.weight);
        let first = even.next();
        let takes_turns = matches!(self.balance, Balance::RoundRobin) && even.all(|weight| Some(weight) == first);
        let mut sorted: Vec<(f64, T)> = choices
            .into_iter()
            .map(|choice| (if takes_turns { 0.0 } else { self.key(&choice) }, choice.what))
            .collect();
        if takes_turns || matches!(self.balance, Balance::LeastConnections) {
            let turn = turn % sorted.len().max(1);
            sorted.rotate_left(turn);
        }
        // Stable: of equals the one whose turn it is comes first.
        sorted.sort_by(|(one, _), (other, _)| one.partial_cmp(other).unwrap_or(Ordering::Equal));
        sorted.into_iter().map(|(_, what)| what).collect()
    }

    /// Smaller is better. An exponential variate for each weight orders a weighted draw without replacement
    /// (Efraimidis and Spirakis, 2006); taken from the score in place of chance it is weighted rendezvous hashing.
    fn key<T>(&mut self, choice: &Choice<T>) -> f64 {
        // Weight 0 is chosen, but seldom (RFC 2782).
        let weight = f64::from(choice.weight).max(0.01);
        match self.balance {
            Balance::LeastConnections => {
                #[expect(clippy::cast_precision_loss, reason = "fewer connections than 2^52")]
                let open = choice.open as f64;
                open / weight
            }
            Balance::Random | Balance::RoundRobin => -(self.random)().max(f64::MIN_POSITIVE).ln() / weight,
            Balance::SourceHash => {
                #[expect(clippy::cast_precision_loss, reason = "its upper bits are what counts")]
                let unit = (choice.score as f64 / u64::MAX as f64).max(f64::MIN_POSITIVE);
                -unit.ln() / weight
            }
        }
    }
}

/// A number that is the same for a client and an origin on every node and at every start (FNV-1a, and the finish of
/// `MurmurHash3`, so that neighbours do not resemble each other).
pub(super) fn score(client: IpAddr, origin: &[u8], port: u16) -> u64 {
    let client = match client {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let all = client.iter().chain(origin).copied().chain(port.to_be_bytes());
    let mixed =
        all.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const ONE: Unit = Unit { number: 0, weight: 1, score: 0 };
    const PLAIN: Contender =
        Contender { priority: 0, unit: ONE, open: 0, standing: Standing::Up, is_v6: false, score: 0 };

    /// Each an origin of its own.
    fn order(contenders: &[Contender], balance: Balance, turn: usize) -> Vec<usize> {
        let own = |(number, c): (usize, &Contender)| Contender { unit: Unit { number, ..c.unit }, ..*c };
        let own: Vec<_> = contenders.iter().enumerate().map(own).collect();
        Order { balance, turn, random: &mut fastrand::f64 }.of(&own)
    }

    fn firsts(contenders: &[Contender], balance: Balance) -> HashMap<usize, u32> {
        let mut firsts = HashMap::new();
        for turn in 0..6000 {
            *firsts.entry(order(contenders, balance, turn)[0]).or_default() += 1;
        }
        firsts
    }

    #[test]
    fn each_has_its_turn() {
        let three = [PLAIN; 3];
        assert_eq!(order(&three, Balance::RoundRobin, 0), [0, 1, 2]);
        assert_eq!(order(&three, Balance::RoundRobin, 1), [1, 2, 0]);
        assert_eq!(order(&three, Balance::RoundRobin, 5), [2, 0, 1]);
        assert!(order(&[], Balance::RoundRobin, 5).is_empty());
    }

    #[test]
    fn the_dead_come_last_and_who_is_to_be_tried_first_within_its_priority() {
        let of = |priority, standing| Contender { priority, standing, ..PLAIN };
        let (up, due, down) = (Standing::Up, Standing::Due, Standing::Down);
        let some = [of(10, up), of(0, down), of(5, up), of(5, down), of(10, due), of(5, due)];
        for balance in [Balance::RoundRobin, Balance::LeastConnections, Balance::Random, Balance::SourceHash] {
            assert_eq!(order(&some, balance, 0), [5, 2, 4, 0, 1, 3], "{balance:?}");
        }
    }

    #[test]
    fn weights_are_kept() {
        let weighted = [3, 1, 0].map(|weight| Contender { unit: Unit { weight, ..ONE }, ..PLAIN });
        for balance in [Balance::RoundRobin, Balance::Random] {
            let firsts = firsts(&weighted, balance);
            let first = f64::from(firsts[&0]) / 6000.0;
            assert!((0.70..0.80).contains(&first), "{balance:?}: {firsts:?}");
        }
    }

    #[test]
    fn the_least_busy_is_first_and_of_equals_the_one_whose_turn_it_is() {
        let busy = [4, 2, 2].map(|open| Contender { open, ..PLAIN });
        assert_eq!(order(&busy, Balance::LeastConnections, 0), [1, 2, 0]);
        assert_eq!(order(&busy, Balance::LeastConnections, 2), [2, 1, 0]);
        let heavy = [(4, 4), (1, 2)].map(|(weight, open)| Contender { unit: Unit { weight, ..ONE }, open, ..PLAIN });
        assert_eq!(order(&heavy, Balance::LeastConnections, 0), [0, 1]);
    }

    #[test]
    fn a_client_keeps_its_origin_when_others_go() {
        let origins: Vec<[u8; 4]> = (1..=5).map(|n| [192, 0, 2, n]).collect();
        let mut kept = 0;
        let mut firsts = HashMap::<usize, u32>::new();
        for client in 0..2000_u32 {
            let client = IpAddr::from(client.to_be_bytes());
            let of = |origins: &[[u8; 4]]| {
                let score = |origin: &[u8; 4]| score(client, origin, 22);
                let unit = |origin| Contender { unit: Unit { score: score(origin), ..ONE }, ..PLAIN };
                let contenders: Vec<_> = origins.iter().map(unit).collect();
                origins[order(&contenders, Balance::SourceHash, 7)[0]]
            };
            let all = of(&origins);
            let first = origins.iter().position(|o| *o == all).unwrap();
            *firsts.entry(first).or_default() += 1;
            if first != 4 {
                assert_eq!(of(&origins[..4]), all);
                kept += 1;
            }
        }
        assert!(kept > 1500, "{kept}");
        assert!(firsts.values().all(|n| (300..500).contains(n)), "{firsts:?}");
    }

    #[test]
    fn families_alternate_with_ipv6_first() {
        let of = |is_v6| Contender { is_v6, ..PLAIN };
        let mixed = [of(false), of(false), of(false), of(true), of(true)];
        let order = Order { balance: Balance::RoundRobin, turn: 1, random: &mut fastrand::f64 };
        assert_eq!(order.of(&mixed), [4, 1, 3, 2, 0]);
    }
}
