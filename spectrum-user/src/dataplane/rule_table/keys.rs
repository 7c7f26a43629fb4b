//! Keys of the rule tries, as spans of addresses.

use spectrum_common::layout::{RuleKeyV4, RuleKeyV6};

use super::nodes::{Address, Span};
use crate::dataplane::image::{Prefix, SCOPE_BITS};

/// A key of a rule trie, as a table has it.
pub(super) trait RuleKey: std::fmt::Debug + Ord + Copy + bytemuck::Pod {
    const IS_V6: bool;

    fn of(scope: u32, address: Address) -> Self;
    fn scope(self) -> u32;
    fn address(self) -> Address;
}

impl RuleKey for RuleKeyV4 {
    const IS_V6: bool = false;

    fn of(scope: u32, address: Address) -> Self {
        let [a, b, c, d, ..] = address.to_be_bytes();
        Self { scope: scope.to_be_bytes(), address: [a, b, c, d] }
    }

    fn scope(self) -> u32 {
        u32::from_be_bytes(self.scope)
    }

    fn address(self) -> Address {
        Address::from(u32::from_be_bytes(self.address)) << 96
    }
}

impl RuleKey for RuleKeyV6 {
    const IS_V6: bool = true;

    fn of(scope: u32, address: Address) -> Self {
        Self { scope: scope.to_be_bytes(), address: address.to_be_bytes() }
    }

    fn scope(self) -> u32 {
        u32::from_be_bytes(self.scope)
    }

    fn address(self) -> Address {
        Address::from_be_bytes(self.address)
    }
}

pub(super) const EVERYTHING: Span = Span { first: 0, bits: 0 };

pub(super) fn span<K: RuleKey>(prefix: Prefix<K>) -> Span {
    Span { first: prefix.key.address(), bits: prefix.bits.saturating_sub(SCOPE_BITS) }
}

pub(super) fn prefix<K: RuleKey>(scope: u32, span: Span) -> Prefix<K> {
    Prefix { bits: SCOPE_BITS + span.bits, key: K::of(scope, span.first) }
}
