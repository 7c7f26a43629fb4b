//! A table says what its tries say, however it came about.

use proptest::{collection::vec, prelude::*, sample::select};
use spectrum_common::{
    layout::{RuleKeyV4, RuleKeyV6},
    rule_table,
    table::{self, Ahead, Gate, Reader},
};

use super::{
    nodes::{Address, Span},
    *,
};
use crate::dataplane::image::{SCOPE_BITS, truncate};

impl Reader for Draft {
    fn word(&self, place: u32) -> Option<u32> {
        self.words.get(place as usize).copied()
    }

    fn gate(&self, place: u32) -> Option<Gate> {
        Some(Words::gate(self, place))
    }
}

const SCOPES: [u32; 3] = [SCOPE_USER, 1, 7];

/// Addresses that are near each other in all places, so that prefixes of them lie within each other.
fn address() -> impl Strategy<Value = Address> {
    let byte = || select(vec![0_u8, 1, 0x80, 0xff]);
    proptest::array::uniform16(byte()).prop_map(Address::from_be_bytes)
}

fn value() -> impl Strategy<Value = RuleValue> {
    let rule = || prop_oneof![Just(0_u32), 1..60_000_u32];
    (rule(), rule(), rule()).prop_map(|(allow, block, simulate)| RuleValue { allow, block, simulate })
}

fn entries<K: RuleKey>() -> impl Strategy<Value = Vec<(Prefix<K>, Option<RuleValue>)>> {
    let longest = u32::try_from(size_of::<K>()).unwrap() * 8 - SCOPE_BITS;
    let entry = (select(SCOPES.to_vec()), address(), 0..=longest, proptest::option::weighted(0.7, value()));
    vec(entry.prop_map(|(scope, address, bits, value)| (prefix(scope, Span::at(address, bits)), value)), 0..24)
}

/// What the trie says: the longest prefix that covers the address.
fn looked_up<K: RuleKey>(rules: &BTreeMap<Prefix<K>, RuleValue>, scope: u32, address: Address) -> u32 {
    let longest = u32::try_from(size_of::<K>()).unwrap() * 8;
    let whole = Prefix { bits: longest, key: K::of(scope, address) };
    let found = (SCOPE_BITS..=longest).rev().find_map(|bits| rules.get(&truncate(whole, bits)));
    found.map_or(0, |value| entry(*value))
}

#[expect(clippy::cast_possible_truncation, reason = "two halves")]
fn found(draft: &Draft, slot: u32, address: Address) -> u32 {
    let ahead = Ahead { front: (address >> 64) as u64, back: address as u64 };
    let root = draft.word(slot).unwrap();
    assert_ne!(root, ASK);
    table::find(draft, root, ahead).unwrap_or(0)
}

fn agrees<K: RuleKey>(draft: &Draft, rules: &BTreeMap<Prefix<K>, RuleValue>, asked: &[Address]) {
    let mask = if K::IS_V6 { Address::MAX } else { Address::from(u32::MAX) << 96 };
    let edges = rules.keys().flat_map(|prefix| {
        let Span { first, bits } = span(*prefix);
        let last = first | Address::MAX.checked_shr(bits).unwrap_or(0);
        [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
    });
    for address in edges.chain(asked.iter().copied()).map(|address| address & mask) {
        for scope in SCOPES {
            let (is, must) = (found(draft, slot(scope, K::IS_V6), address), looked_up(rules, scope, address));
            assert_eq!(is, must, "{address:032x} of scope {scope} in {rules:?}");
        }
    }
}

fn changes_are_followed<K: RuleKey>(
    first: Vec<(Prefix<K>, Option<RuleValue>)>,
    changes: &[(Prefix<K>, Option<RuleValue>)],
    asked: &[Address],
) {
    let mut rules: BTreeMap<_, _> = first.into_iter().filter_map(|(prefix, value)| Some((prefix, value?))).collect();
    let mut draft = Draft::default();
    draft.lay_all(&rules, 1 << 24);
    agrees(&draft, &rules, asked);
    for some in changes.chunks(3) {
        for (prefix, value) in some {
            if let Some(value) = value {
                rules.insert(*prefix, *value);
            } else {
                // One that is there, as a rule.
                let near = rules.range(*prefix..).next().map_or(*prefix, |(near, _)| *near);
                rules.remove(&near);
                relay(&mut draft, &rules, &BTreeSet::from([near])).unwrap();
            }
        }
        let changed = some.iter().map(|(prefix, _)| *prefix).collect();
        relay(&mut draft, &rules, &changed).unwrap();
        agrees(&draft, &rules, asked);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_table_of_ipv4_rules_says_what_the_trie_says(
        first in entries::<RuleKeyV4>(),
        changes in entries::<RuleKeyV4>(),
        asked in vec(address(), 8),
    ) {
        changes_are_followed(first, &changes, &asked);
    }

    #[test]
    fn a_table_of_ipv6_rules_says_what_the_trie_says(
        first in entries::<RuleKeyV6>(),
        changes in entries::<RuleKeyV6>(),
        asked in vec(address(), 8),
    ) {
        changes_are_followed(first, &changes, &asked);
    }

    #[test]
    fn an_entry_says_what_decides(value in value()) {
        let said = rule_table::said(entry(value));
        prop_assert_eq!(said.allow, value.allow);
        prop_assert_eq!(said.block, if value.allow == 0 { value.block } else { 0 });
        prop_assert_eq!(said.simulate, if value.allow | value.block == 0 { value.simulate } else { 0 });
    }
}

/// Each is made by itself, as operators do: no way may grow longer than a packet is walked.
#[test]
fn rules_within_each_other_are_found_however_many_they_are() {
    let whole = Address::from_be_bytes([0x20; 16]);
    let mut rules = BTreeMap::new();
    let mut draft = Draft::default();
    draft.lay_all(&rules, 1 << 24);
    for bits in 1..=128 {
        let prefix = prefix::<RuleKeyV6>(SCOPE_USER, Span::at(whole, bits));
        rules.insert(prefix, RuleValue { block: bits, ..RuleValue::default() });
        relay(&mut draft, &rules, &BTreeSet::from([prefix])).unwrap();
        agrees(&draft, &rules, &[whole]);
    }
}

#[test]
fn rules_that_are_too_many_for_a_table_stay_in_their_trie() {
    let block = RuleValue { block: 1, ..RuleValue::default() };
    let v4 = BTreeMap::from([(prefix::<RuleKeyV4>(SCOPE_USER, EVERYTHING), block)]);
    let v6 = BTreeMap::from([(prefix::<RuleKeyV6>(SCOPE_USER, EVERYTHING), block)]);
    let mut draft = Draft::default();
    draft.lay_all(&v4, (1 << ROOT_BITS) - 1);
    draft.lay_all(&v6, 1 << ROOT_BITS);
    assert_eq!(draft.word(slot(SCOPE_USER, false)), Some(ASK));
    assert_eq!(found(&draft, slot(SCOPE_USER, true), 1), entry(block));
    // And they go on to.
    relay(&mut draft, &v4, &v4.keys().copied().collect()).unwrap();
    assert_eq!(draft.word(slot(SCOPE_USER, false)), Some(ASK));
}
