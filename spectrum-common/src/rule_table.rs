//! Access rules by prefix, as a [`table`](crate::table) has them: what the tries say, found in fewer steps.
//!
//! The tries stay the truth: a table is made of them, and where there is none they are asked.

use crate::{
    layout::RuleValue,
    limits,
    table::{NODE_WORDS, WAY},
};

#[expect(clippy::cast_possible_truncation, reason = "a limit")]
const SCOPES: u32 = limits::ZONES as u32 + 1;
/// Words that a table begins with: a root for each scope and family.
pub const HEAD_WORDS: u32 = (SCOPES * 2).next_multiple_of(NODE_WORDS);

/// In the place of a root: this scope's rules of this family are too many for a table, and the trie is asked.
pub const ASK: u32 = u32::MAX;

/// Where the head has the root of a scope for IPv4 or IPv6; 0 there: the scope has no rules.
#[inline(always)]
pub const fn slot(scope: u32, is_v6: bool) -> u32 {
    scope * 2 + is_v6 as u32
}

/// Bits of an entry that say which kind of rule it is about; the others are the rule's number.
const KIND: u32 = 0b11 << KIND_SHIFT;
const KIND_SHIFT: u32 = 29;
const ALLOW: u32 = 1 << KIND_SHIFT;
const BLOCK: u32 = 2 << KIND_SHIFT;
const SIMULATE: u32 = 3 << KIND_SHIFT;

const _: () = assert!(KIND & WAY == 0 && limits::RULES < 1 << KIND_SHIFT);

/// An entry for what a prefix says. Whatever another scope says, of these three only the first counts: allow beats block,
/// and what is only tried is told where neither speaks.
pub const fn entry(said: RuleValue) -> u32 {
    match said {
        RuleValue { allow: rule @ 1.., .. } => ALLOW | rule,
        RuleValue { block: rule @ 1.., .. } => BLOCK | rule,
        RuleValue { simulate: rule @ 1.., .. } => SIMULATE | rule,
        RuleValue { .. } => 0,
    }
}

/// What an entry says.
#[inline(always)]
pub const fn said(entry: u32) -> RuleValue {
    const fn rule(entry: u32, kind: u32) -> u32 {
        if entry & KIND == kind { entry & !KIND } else { 0 }
    }
    RuleValue { allow: rule(entry, ALLOW), block: rule(entry, BLOCK), simulate: rule(entry, SIMULATE) }
}
