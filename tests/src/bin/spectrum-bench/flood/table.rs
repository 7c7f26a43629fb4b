//! What a part has found: takes of named figures, and what is asked of their ratios.

use crate::stats::{self, Ratio};

/// One table of the report.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) title: String,
    /// How to read it.
    pub(super) note: String,
    /// Names with their units.
    pub(super) columns: Vec<&'static str>,
    pub(super) takes: Vec<Take>,
    pub(super) targets: Vec<Target>,
}

/// One contestant's figures of one round.
pub(super) struct Take {
    pub(super) round: u32,
    pub(super) contestant: String,
    pub(super) values: Vec<f64>,
    /// Something else used the machine.
    pub(super) disturbed: bool,
}

/// What a figure must reach.
pub(super) struct Target {
    pub(super) what: String,
    pub(super) bound: Bound,
    pub(super) found: Found,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    Ratio(Ratio),
    /// A median, and the worst of the rounds.
    Value {
        median: f64,
        worst: f64,
    },
    Nothing,
}

impl Part {
    /// The values of a column, round by round. Disturbed takes only count where there is nothing better.
    pub(super) fn values(&self, contestant: &str, column: usize) -> Vec<f64> {
        self.counted(contestant).filter_map(|take| take.values.get(column).copied()).collect()
    }

    /// How many times the other's figure the first one's is: contestants with their columns.
    pub(super) fn ratio(&self, ours: (&str, usize), theirs: (&str, usize)) -> Found {
        let pairs: Vec<(f64, f64)> = self
            .counted(ours.0)
            .filter_map(|first| {
                let second = self.counted(theirs.0).find(|second| second.round == first.round)?;
                Some((*first.values.get(ours.1)?, *second.values.get(theirs.1)?))
            })
            .collect();
        stats::ratio(&pairs).map_or(Found::Nothing, Found::Ratio)
    }

    pub(super) fn value(&self, contestant: &str, column: usize, bound: Bound) -> Found {
        let values = self.values(contestant, column);
        let worst = match bound {
            Bound::AtMost(_) => values.iter().copied().reduce(f64::max),
            Bound::AtLeast(_) => values.iter().copied().reduce(f64::min),
        };
        match (stats::median(&values), worst) {
            (Some(median), Some(worst)) => Found::Value { median, worst },
            _ => Found::Nothing,
        }
    }

    pub(super) fn expect(&mut self, what: impl Into<String>, bound: Bound, found: Found) {
        self.targets.push(Target { what: what.into(), bound, found });
    }

    /// Names in the order of their first take.
    pub(super) fn contestants(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for take in &self.takes {
            if !names.contains(&take.contestant.as_str()) {
                names.push(&take.contestant);
            }
        }
        names
    }

    fn counted<'a>(&'a self, contestant: &'a str) -> impl Iterator<Item = &'a Take> {
        let of = move || self.takes.iter().filter(move |take| take.contestant == contestant);
        let any_clean = of().any(|take| !take.disturbed);
        of().filter(move |take| !(any_clean && take.disturbed))
    }
}

impl Target {
    /// None: nothing was measured.
    pub(super) fn met(&self) -> Option<bool> {
        let found = match self.found {
            Found::Ratio(ratio) => ratio.value,
            Found::Value { median, .. } => median,
            Found::Nothing => return None,
        };
        Some(match self.bound {
            Bound::AtMost(bound) => found <= bound,
            Bound::AtLeast(bound) => found >= bound,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(takes: &[(u32, &str, f64)]) -> Part {
        let take = |&(round, name, value): &(u32, &str, f64)| Take {
            round,
            contestant: name.to_owned(),
            values: vec![value],
            disturbed: false,
        };
        let (title, note) = (String::new(), String::new());
        let takes = takes.iter().map(take).collect();
        Part { name: "p", title, note, columns: vec!["x"], takes, targets: Vec::new() }
    }

    #[test]
    fn a_target_is_met_on_its_side_of_the_bound() {
        let part = part(&[(0, "a", 1.0), (0, "b", 4.0), (1, "a", 1.0), (1, "b", 4.0)]);
        let met = |bound| Target { what: String::new(), bound, found: part.ratio(("a", 0), ("b", 0)) }.met();
        assert_eq!(met(Bound::AtMost(0.3)), Some(true));
        assert_eq!(met(Bound::AtLeast(0.3)), Some(false));
        let nothing = Target { what: String::new(), bound: Bound::AtMost(1.0), found: part.ratio(("a", 0), ("c", 0)) };
        assert_eq!(nothing.met(), None);
    }

    #[test]
    fn the_worst_round_is_the_one_nearest_to_the_bound() {
        let part = part(&[(0, "a", 1.0), (1, "a", 2.0), (2, "a", 9.0)]);
        let worst = |bound| match part.value("a", 0, bound) {
            Found::Value { median, worst } => (median, worst),
            _ => panic!("values"),
        };
        assert_eq!(worst(Bound::AtMost(3.0)), (2.0, 9.0));
        assert_eq!(worst(Bound::AtLeast(3.0)), (2.0, 1.0));
    }

    #[test]
    fn a_disturbed_take_does_not_count_beside_a_clean_one() {
        let mut part = part(&[(0, "a", 1.0), (1, "a", 5.0)]);
        part.takes[0].disturbed = true;
        assert_eq!(part.values("a", 0), [5.0]);
    }
}
