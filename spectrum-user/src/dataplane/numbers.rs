//! Small numbers for objects: the kernel counts and compares by them, people read ids.
//!
//! A number keeps its object as long as the object lives, over reloads and restarts, because the maps `APPS`, `RULES`
//! and `ZONES` remember it. A number that becomes free is not given away in the same change: while the change is being
//! applied, old entries still mean the old object.

use std::collections::BTreeMap;

use spectrum_common::layout::ObjectId;

/// Number to object id, as one of the naming maps holds it.
pub type Names = BTreeMap<u32, ObjectId>;

/// More objects than numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} {kind} are more than the {capacity} that an instance holds at once (numbers that a change frees are free for the next one)"
)]
pub struct Exhausted {
    pub kind: &'static str,
    pub wanted: usize,
    pub capacity: usize,
}

/// What numbers there are.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub kind: &'static str,
    /// The first number that an object may have.
    pub first: u32,
    /// Entries of the naming map.
    pub capacity: usize,
}

/// Gives each of `ids` its number: the one it has in `have`, else the lowest that nobody has.
pub fn assign(
    have: &Names,
    ids: impl IntoIterator<Item = [u8; 16]>,
    space: Space,
) -> Result<BTreeMap<[u8; 16], u32>, Exhausted> {
    let known: BTreeMap<[u8; 16], u32> = have.iter().map(|(number, name)| (name.id, *number)).collect();
    let mut ids: Vec<[u8; 16]> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    let wanted = ids.len();
    let exhausted = Exhausted { kind: space.kind, wanted, capacity: space.capacity - space.first as usize };
    let mut free = (space.first..).take_while(|n| (*n as usize) < space.capacity).filter(|n| !have.contains_key(n));
    ids.into_iter()
        .map(|id| match known.get(&id) {
            Some(number) => Ok((id, *number)),
            None => free.next().map(|number| (id, number)).ok_or_else(|| exhausted.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space { kind: "things", first: 1, capacity: 4 };

    fn names(entries: &[(u32, u8)]) -> Names {
        entries.iter().map(|(number, id)| (*number, ObjectId { id: [*id; 16] })).collect()
    }

    #[test]
    fn keeps_numbers_and_fills_gaps() {
        let numbers = assign(&names(&[(2, 7)]), [[9; 16], [7; 16], [8; 16]], SPACE).unwrap();
        assert_eq!(numbers, BTreeMap::from([([7; 16], 2), ([8; 16], 1), ([9; 16], 3)]));
    }

    #[test]
    fn does_not_reuse_a_number_that_the_same_change_frees() {
        let numbers = assign(&names(&[(1, 5), (2, 6)]), [[9; 16]], SPACE).unwrap();
        assert_eq!(numbers, BTreeMap::from([([9; 16], 3)]));
    }

    #[test]
    fn says_what_does_not_fit() {
        let error = assign(&Names::new(), [[1; 16], [2; 16], [3; 16], [4; 16]], SPACE).unwrap_err();
        assert_eq!((error.wanted, error.capacity), (4, 3));
    }
}
