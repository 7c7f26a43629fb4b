//! Who is better, and whether the rounds are enough to say so. Pure.

use crate::contestant::Contestant;
use crate::measure::{Better, Figure};
use crate::rounds::{MeasureResults, Take};
use crate::stats::{self, Ratio};

/// Rounds below which an interval is no more than the spread of a handful.
const ENOUGH: usize = 5;

/// What a ratio and its interval say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Better,
    /// The interval holds 1, or too few rounds made it: they cannot tell.
    CannotTell,
    Worse,
}

impl Verdict {
    pub(crate) fn of(ratio: Ratio, better: Better) -> Self {
        if ratio.pairs < ENOUGH {
            return Self::CannotTell;
        }
        let (above, below) = (ratio.low > 1.0, ratio.high < 1.0);
        match better {
            Better::More if above => Self::Better,
            Better::Less if below => Self::Better,
            Better::More | Better::Less if above || below => Self::Worse,
            _ => Self::CannotTell,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::CannotTell => "cannot tell",
            Self::Worse => "WORSE",
        }
    }
}

/// The values of one figure, round by round. Disturbed samples only count where there is nothing better.
pub(crate) fn values(measure: &MeasureResults, contestant: &str, figure: &str) -> Vec<f64> {
    counted(measure, contestant).filter_map(|take| take.sample.figure(figure)).collect()
}

/// How many times the peer's figure the contestant's is.
pub(crate) fn ratio(measure: &MeasureResults, figure: &str, contestant: &str, peer: &str) -> Option<Ratio> {
    let pairs: Vec<(f64, f64)> = counted(measure, contestant)
        .filter_map(|ours| {
            let theirs = counted(measure, peer).find(|theirs| theirs.round == ours.round)?;
            Some((ours.sample.figure(figure)?, theirs.sample.figure(figure)?))
        })
        .collect();
    stats::ratio(&pairs)
}

/// The one of HAProxy's two ways of relaying that does better in this figure.
pub(crate) fn best_haproxy(measure: &MeasureResults, figure: &Figure) -> Option<&'static str> {
    let medians = Contestant::HAPROXY
        .into_iter()
        .filter_map(|name| Some((name, stats::median(&values(measure, name, figure.name))?)));
    let best = match figure.better {
        Better::More => medians.max_by(|a, b| a.1.total_cmp(&b.1)),
        Better::Less | Better::Neither => medians.min_by(|a, b| a.1.total_cmp(&b.1)),
    };
    best.map(|(name, _)| name)
}

fn counted<'a>(measure: &'a MeasureResults, contestant: &'a str) -> impl Iterator<Item = &'a Take> {
    let of = move || measure.takes.iter().filter(move |take| take.contestant == contestant);
    let any_clean = of().any(|take| !take.disturbed);
    of().filter(move |take| !(any_clean && take.disturbed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;

    const RATE: Figure = Figure { name: "rate", unit: "/s", better: Better::More, value: 0.0 };

    fn take(round: u32, contestant: &'static str, value: f64) -> Take {
        let sample = Sample { figures: vec![Figure { value, ..RATE }], steal: 0.0, foreign: 0.0, failures: 0 };
        Take { round, contestant, sample, disturbed: false }
    }

    fn measure(takes: Vec<Take>) -> MeasureResults {
        MeasureResults { name: "m".to_owned(), title: "M".to_owned(), takes }
    }

    #[test]
    fn a_disturbed_sample_does_not_count_beside_a_clean_one() {
        let mut disturbed = take(0, "nginx", 1.0);
        disturbed.disturbed = true;
        let measure = measure(vec![disturbed, take(1, "nginx", 5.0)]);
        assert_eq!(values(&measure, "nginx", "rate"), [5.0]);
    }

    #[test]
    fn ratios_pair_what_was_measured_in_the_same_round() {
        let measure = measure(vec![take(0, "spectrum", 2.0), take(1, "nginx", 1.0), take(1, "spectrum", 3.0)]);
        let found = ratio(&measure, "rate", "spectrum", "nginx").unwrap();
        assert!((found.value - 3.0).abs() < 1e-9);
        assert_eq!(ratio(&measure, "rate", "spectrum", "direct"), None);
    }

    #[test]
    fn the_best_haproxy_depends_on_the_figure() {
        let measure = measure(vec![take(0, "haproxy-splice", 2.0), take(0, "haproxy-copy", 1.0)]);
        assert_eq!(best_haproxy(&measure, &RATE), Some("haproxy-splice"));
        assert_eq!(best_haproxy(&measure, &Figure { better: Better::Less, ..RATE }), Some("haproxy-copy"));
    }

    #[test]
    fn a_few_rounds_are_no_verdict() {
        let ratio = Ratio { value: 2.0, low: 2.0, high: 2.0, pairs: 4 };
        assert_eq!(Verdict::of(ratio, Better::More), Verdict::CannotTell);
    }

    #[test]
    fn a_verdict_needs_an_interval_on_one_side_of_one() {
        let ratio = |low, high| Ratio { value: 1.0, low, high, pairs: 5 };
        assert_eq!(Verdict::of(ratio(1.1, 1.3), Better::More), Verdict::Better);
        assert_eq!(Verdict::of(ratio(1.1, 1.3), Better::Less), Verdict::Worse);
        assert_eq!(Verdict::of(ratio(0.7, 0.9), Better::Less), Verdict::Better);
        assert_eq!(Verdict::of(ratio(0.7, 0.9), Better::More), Verdict::Worse);
        assert_eq!(Verdict::of(ratio(0.9, 1.1), Better::More), Verdict::CannotTell);
    }
}
