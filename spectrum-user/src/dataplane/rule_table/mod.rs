//! The access rules by prefix as a table beside the tries, which XDP asks first.
//!
//! The tries are written first and stay the truth; the table follows them. Parts of it are written anew in place: the new
//! nodes first, then the one entry that leads to them, so that each packet meets the old answer or the new one. What
//! such a change leaves behind is not used again, for a packet may still be on its way through it: when the room is used up,
//! a new table takes the place of the whole.

mod keys;
mod nodes;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use spectrum_common::{
    layout::{RuleValue, SCOPE_USER},
    rule_table::{ASK, HEAD_WORDS, entry, slot},
    table::{NODE_WORDS, ROOT_BITS, SMALL_ROOT_BITS, root},
};

use self::{
    keys::{EVERYTHING, RuleKey, prefix, span},
    nodes::{Concerned, Level, NoRoom, Said, Words, concerned, lay},
    words::{Draft, Live},
};
use super::{
    diff::Op,
    image::{MapImage, Prefix},
    maps::{ConfigMaps, TableArray},
    memory::{NODE_BYTES, TableError, TableMemory},
    rules::{covering, within},
};

/// The most that the rules of one family may take; those that take more stay in their trie.
const MOST_WORDS: usize = 16 << 20;
/// Writes beyond which a new table is quicker.
const MOST_CHANGES: usize = 4096;
/// Words for changes, at least: the first rule of a family takes a root.
const LEAST_ROOM: usize = 3 << ROOT_BITS;

/// The table that the programs ask, once it is put where they look.
pub struct RuleTable {
    memory: TableMemory,
    used: u32,
}

impl RuleTable {
    /// A new table of what the tries of `image` say.
    pub fn of(image: &MapImage) -> Result<Self, TableError> {
        let mut draft = Draft::default();
        draft.lay_all(&image.rules_v4, MOST_WORDS);
        draft.lay_all(&image.rules_v6, MOST_WORDS);
        let words = draft.words;
        let room = (words.len() / 2).max(LEAST_ROOM);
        let mut memory = TableMemory::new(words.len() + room)?;
        memory.words_mut().iter_mut().zip(&words).for_each(|(to, word)| *to = *word);
        Ok(Self { memory, used: u32::try_from(words.len()).unwrap_or(u32::MAX) })
    }

    /// A small table that says nothing: the tries are asked.
    pub fn that_asks() -> Result<Self, TableError> {
        let mut memory = TableMemory::new(HEAD_WORDS as usize)?;
        memory.words_mut().fill(ASK);
        Ok(Self { memory, used: HEAD_WORDS })
    }

    /// What to put into `RULE_TABLE`.
    pub fn array(&self) -> &TableArray {
        self.memory.array()
    }

    /// Follows writes to the tries, which are now as `image` is. Whether it could: else a new one is needed.
    #[must_use]
    pub fn follow(&mut self, image: &MapImage, ops: &[Op]) -> bool {
        ops.len() <= MOST_CHANGES && self.change(image, ops) == Ok(())
    }

    fn change(&mut self, image: &MapImage, ops: &[Op]) -> Result<(), NoRoom> {
        let (mut v4, mut v6) = (BTreeSet::new(), BTreeSet::new());
        for op in ops {
            match *op {
                Op::SetRuleV4(prefix, _) | Op::RemoveRuleV4(prefix) => drop(v4.insert(prefix)),
                Op::SetRuleV6(prefix, _) | Op::RemoveRuleV6(prefix) => drop(v6.insert(prefix)),
                _ => {}
            }
        }
        let mut words = Live { words: self.memory.words(), used: &mut self.used };
        relay(&mut words, &image.rules_v4, &v4)?;
        relay(&mut words, &image.rules_v6, &v6)
    }
}

/// What the kernel asks about rules by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTableStatus {
    /// Of kernel memory.
    pub bytes: u64,
    /// Whether rules for all zones are in it; else their trie is asked.
    pub holds_v4: bool,
    pub holds_v6: bool,
}

impl ConfigMaps {
    /// None where there is no table, or this process may not see it.
    pub(super) fn rule_table_status(&self) -> Option<RuleTableStatus> {
        let table = self.rule_table.get(&0, 0).ok()?;
        let head = table.get(&0, 0).ok()?;
        let holds = |is_v6| head.get(slot(SCOPE_USER, is_v6) as usize).is_some_and(|root| *root != ASK);
        let bytes = u64::from(table.len()) * NODE_BYTES as u64;
        Some(RuleTableStatus { bytes, holds_v4: holds(false), holds_v6: holds(true) })
    }
}

/// The root of a scope: everybody's rules are the many, a zone's are few.
fn root_bits(scope: u32) -> u32 {
    if scope == SCOPE_USER { ROOT_BITS } else { SMALL_ROOT_BITS }
}

fn new_root<K: RuleKey>(words: &mut impl Words, scope: u32, said: &[Said]) -> Result<(), NoRoom> {
    let index = root_bits(scope);
    let base = words.room(1 << index)?;
    let level = Level { base, above: 0, index };
    lay(words, Concerned::Entries { level, span: EVERYTHING }, said, 0)?;
    words.set(slot(scope, K::IS_V6), root(base, index));
    Ok(())
}

/// Lays out anew what concerns some changed prefixes.
fn relay<K: RuleKey>(
    words: &mut impl Words,
    rules: &BTreeMap<Prefix<K>, RuleValue>,
    changed: &BTreeSet<Prefix<K>>,
) -> Result<(), NoRoom> {
    let mut done: Vec<Prefix<K>> = Vec::new();
    for changed in changed {
        if done.iter().any(|done| done.covers(changed)) {
            continue;
        }
        let scope = changed.key.scope();
        let index = root_bits(scope);
        let said = |whole| {
            let said = within(rules, whole).map(|(prefix, value)| Said { span: span(prefix), entry: entry(value) });
            let mut said: Vec<Said> = said.collect();
            said.sort_unstable();
            said
        };
        match words.get(slot(scope, K::IS_V6)) {
            ASK => {}
            0 => new_root::<K>(words, scope, &said(prefix(scope, EVERYTHING)))?,
            known => {
                let root = Level { base: known & !(NODE_WORDS - 1), above: 0, index };
                let concerned = concerned(words, root, span(*changed));
                let (Concerned::Entry { span, .. } | Concerned::Entries { span, .. }) = concerned;
                let whole = prefix(scope, span);
                let base = covering(rules, whole).map_or(0, |value| entry(*value));
                lay(words, concerned, &said(whole), base)?;
                done.push(whole);
            }
        }
    }
    Ok(())
}

impl Draft {
    /// Lays out what a trie says, in so many words at most. Where it takes more, the trie is left to say it.
    fn lay_all<K: RuleKey>(&mut self, rules: &BTreeMap<Prefix<K>, RuleValue>, most: usize) {
        let mut scopes: BTreeMap<u32, Vec<Said>> = BTreeMap::new();
        for (prefix, value) in rules {
            let said = Said { span: span(*prefix), entry: entry(*value) };
            scopes.entry(prefix.key.scope()).or_default().push(said);
        }
        let before = self.words.len();
        self.most = before + most;
        let laid = scopes.iter_mut().try_for_each(|(scope, said)| {
            said.sort_unstable();
            new_root::<K>(self, *scope, said)
        });
        if laid == Err(NoRoom) {
            let family = if K::IS_V6 { "IPv6" } else { "IPv4" };
            let most = (most * size_of::<u32>()) >> 20;
            log::warn!(
                "the access rules for {family} take more than {most} MiB as a table: they are looked up in their trie, which is slower"
            );
            self.words.truncate(before);
            // Everybody's too where there are none: status looks there.
            for scope in scopes.keys().chain([&SCOPE_USER]) {
                self.set(slot(*scope, K::IS_V6), ASK);
            }
        }
    }
}

#[cfg(test)]
mod tests;
