//! The part of a trie that a change of rules concerns: what they name, and the prefixes within it.

use std::collections::{BTreeMap, BTreeSet};

use spectrum_common::{layout::RuleValue, limits};

use crate::dataplane::image::{ImageError, Prefix, SCOPE_BITS, add, inherit, truncate};

/// The prefixes that a change concerns, of one family.
pub(super) struct Subtree<K> {
    /// None of them within another one.
    roots: Vec<Prefix<K>>,
    /// What rules say at each prefix within them.
    own: BTreeMap<Prefix<K>, RuleValue>,
}

/// The writes to a trie.
pub(super) struct Changes<K> {
    pub(super) set: BTreeMap<Prefix<K>, RuleValue>,
    pub(super) gone: BTreeSet<Prefix<K>>,
}

impl<K: Ord + Copy + bytemuck::Pod> Subtree<K> {
    pub(super) fn of(touched: impl Iterator<Item = Prefix<K>>) -> Self {
        let mut sorted: Vec<Prefix<K>> = touched.collect();
        sorted.sort_unstable();
        let mut roots: Vec<Prefix<K>> = Vec::new();
        for prefix in sorted {
            if !roots.iter().any(|root| root.covers(&prefix)) {
                roots.push(prefix);
            }
        }
        Self { roots, own: BTreeMap::new() }
    }

    pub(super) fn holds(&self, prefix: &Prefix<K>) -> bool {
        self.roots.iter().any(|root| root.covers(prefix))
    }

    /// What a rule at a prefix within them says.
    pub(super) fn say(&mut self, prefix: Prefix<K>, said: RuleValue) {
        add(&mut self.own, prefix, said);
    }

    /// The writes to the trie that is `whole`.
    pub(super) fn changes(self, whole: &BTreeMap<Prefix<K>, RuleValue>) -> Result<Changes<K>, ImageError> {
        let mut changes = Changes { set: BTreeMap::new(), gone: BTreeSet::new() };
        for root in self.roots {
            let covering = covering(whole, root);
            let own = self.own.iter().filter(|(prefix, _)| root.covers(prefix)).map(|(prefix, own)| (*prefix, *own));
            let want = inherit(own.collect(), covering.copied().unwrap_or_default());
            changes
                .gone
                .extend(within(whole, root).map(|(prefix, _)| prefix).filter(|prefix| !want.contains_key(prefix)));
            changes.set.extend(want.into_iter().filter(|(prefix, value)| whole.get(prefix) != Some(value)));
        }
        room(whole, &changes)?;
        Ok(changes)
    }
}

/// What a trie says where only prefixes that cover `root` speak.
pub(in crate::dataplane) fn covering<K: Ord + Copy + bytemuck::Pod>(
    whole: &BTreeMap<Prefix<K>, RuleValue>,
    root: Prefix<K>,
) -> Option<&RuleValue> {
    (SCOPE_BITS..root.bits).rev().find_map(|bits| whole.get(&truncate(root, bits)))
}

/// What a trie says at `root` and at the prefixes within it.
pub(in crate::dataplane) fn within<K: Ord + Copy + bytemuck::Pod>(
    whole: &BTreeMap<Prefix<K>, RuleValue>,
    root: Prefix<K>,
) -> impl Iterator<Item = (Prefix<K>, RuleValue)> + '_ {
    let longest = u32::try_from(size_of::<K>()).unwrap_or_default() * u8::BITS;
    let last = last(root);
    let of_length = move |bits| whole.range(Prefix { bits, key: root.key }..=Prefix { bits, key: last });
    (root.bits..=longest).flat_map(of_length).map(|(prefix, value)| (*prefix, *value))
}

/// The last key that a prefix covers.
fn last<K: bytemuck::Pod>(prefix: Prefix<K>) -> K {
    let mut key = prefix.key;
    let kept = prefix.bits as usize / 8;
    for (i, byte) in bytemuck::bytes_of_mut(&mut key).iter_mut().enumerate().skip(kept) {
        *byte |= if i == kept { 0xff_u8 >> (prefix.bits % 8) } else { 0xff };
    }
    key
}

fn room<K: Ord>(whole: &BTreeMap<Prefix<K>, RuleValue>, changes: &Changes<K>) -> Result<(), ImageError> {
    // New ones are set before old ones go.
    let wanted = whole.len() + changes.set.keys().filter(|prefix| !whole.contains_key(prefix)).count();
    if wanted > limits::RULE_PREFIXES { Err(ImageError::RulePrefixes { wanted }) } else { Ok(()) }
}
