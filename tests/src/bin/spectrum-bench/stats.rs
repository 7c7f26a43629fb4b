//! Medians, spreads and bootstrap intervals. Pure.

/// The value below which `share` (0 to 1) of the values lie, between neighbours by proportion; `None` of nothing.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "as many values as there are measurements")]
    let position = share.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= position <= last")]
    let below = position.floor() as usize;
    let (low, high) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    Some(low + (high - low) * position.fract())
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Distance of the quartiles.
pub(crate) fn iqr(values: &[f64]) -> Option<f64> {
    Some(quantile(values, 0.75)? - quantile(values, 0.25)?)
}

/// How many times the second of each pair the first is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    /// Ratio of the medians.
    pub(crate) value: f64,
    /// Bounds of the 95 % bootstrap interval.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Pairs that it rests on.
    pub(crate) pairs: usize,
}

/// Ratio of the medians of pairs that were measured in the same round, with a percentile bootstrap over the rounds.
/// Rounds are drawn whole, so that what slowed a whole round down slows both sides of its pair.
pub(crate) fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    const RESAMPLES: usize = 4000;
    let value = ratio_of_medians(pairs)?;
    let mut random = Random(0x5eed);
    let ratios: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn: Vec<(f64, f64)> =
                pairs.iter().filter_map(|_| pairs.get(random.below(pairs.len())).copied()).collect();
            ratio_of_medians(&drawn)
        })
        .collect();
    Some(Ratio { value, low: quantile(&ratios, 0.025)?, high: quantile(&ratios, 0.975)?, pairs: pairs.len() })
}

fn ratio_of_medians(pairs: &[(f64, f64)]) -> Option<f64> {
    let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (ours, theirs) = (median(&ours)?, median(&theirs)?);
    (theirs > 0.0).then(|| ours / theirs)
}

/// `SplitMix64`: the same numbers on every run, so that a report can be made again from its samples.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "less than `bound`, which is a usize")]
        let number = self.next().checked_rem(bound as u64).unwrap_or(0) as usize;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-9)
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert!(close(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(close(median(&[4.0, 1.0, 2.0, 3.0]), 2.5));
        assert!(close(iqr(&[1.0, 2.0, 3.0, 4.0, 5.0]), 2.0));
        assert!(close(quantile(&[7.0], 0.99), 7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn equal_rounds_leave_no_doubt_about_the_ratio() {
        let found = ratio(&[(3.0, 2.0); 5]).unwrap();
        assert!(close(Some(found.value), 1.5) && close(Some(found.low), 1.5) && close(Some(found.high), 1.5));
    }

    #[test]
    fn noise_widens_the_interval_around_the_ratio() {
        let found = ratio(&[(2.0, 1.0), (2.2, 1.0), (1.8, 1.0), (2.4, 1.0), (1.6, 1.0)]).unwrap();
        assert!(close(Some(found.value), 2.0));
        assert!(found.low < 1.9 && found.low >= 1.6, "{found:?}");
        assert!(found.high > 2.1 && found.high <= 2.4, "{found:?}");
    }

    #[test]
    fn what_slows_a_whole_round_does_not_widen_the_interval() {
        let found = ratio(&[(10.0, 5.0), (2.0, 1.0), (6.0, 3.0)]).unwrap();
        assert!(close(Some(found.low), 2.0) && close(Some(found.high), 2.0), "{found:?}");
    }

    #[test]
    fn nothing_measured_has_no_ratio() {
        assert_eq!(ratio(&[]), None);
        assert_eq!(ratio(&[(1.0, 0.0)]), None);
    }

    #[test]
    fn random_numbers_reach_every_value_below_the_bound() {
        let mut random = Random(1);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
    }
}
