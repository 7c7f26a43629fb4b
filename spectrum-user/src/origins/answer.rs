//! What a name resolved to: pure. Which of it may be used, and for how long.

use std::{collections::HashSet, fmt, net::IpAddr, sync::Arc, time::Duration};

/// What was heard of a name, and of what of it nothing was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// At least one.
    pub(super) found: Vec<Found>,
    /// The shortest of the records' lives.
    pub(super) ttl: Duration,
    /// What was known of these before is still true.
    pub(super) missing: Vec<Missing>,
}

/// Addresses of one family that nobody told, nor said that there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) record: Record,
    pub(super) is_v6: bool,
}

/// A question that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// At least one, none twice.
    pub(super) origins: Vec<Found>,
    /// Until it is asked again.
    pub(super) ttl: Duration,
}

/// One address that may be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) address: IpAddr,
    pub(super) record: Record,
}

/// What an SRV record says of its target's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// In lower case; none: there are no SRV records, the address is the name's own.
    pub(super) target: Option<Arc<str>>,
    /// None: as the application says.
    pub(super) port: Option<u16>,
    pub(super) priority: u16,
    pub(super) weight: u16,
}

impl Record {
    /// Of a name without SRV records.
    pub(super) const PLAIN: Self = Self { target: None, port: None, priority: 0, weight: 1 };
}

/// Why a name gives no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No server answered, or with an error of its own.
    #[error("no answer from the resolver")]
    Failed,
    #[error("there is no such name, or it has no record of this type")]
    NoRecord,
    /// Addresses that nobody dials: the edge's own, multicast.
    #[error("every address of it is refused")]
    Refused,
}

/// More than one connection ever tries; and what a hostile answer may take of memory.
pub(super) const MOST: usize = 1024;

/// However short a record lives: the name servers are not asked more often than that.
pub(super) const SHORTEST: Duration = Duration::from_secs(5);

impl Reply {
    /// Whom to dial: who was found, and of what is missing who was `known` before, as its record says now.
    pub(super) fn with(&self, known: &[Found]) -> Vec<Found> {
        let mut all = self.found.clone();
        for Missing { record, is_v6 } in &self.missing {
            let still = |one: &&Found| one.record.target == record.target && one.address.is_ipv6() == *is_v6;
            let still = known.iter().filter(still);
            all.extend(still.map(|one| Found { address: one.address, record: record.clone() }));
        }
        all
    }
}

/// For the log: one line is enough of it.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_v6 { "IPv6" } else { "IPv4" };
        match &self.record.target {
            None => write!(f, "its {family} addresses"),
            Some(target) => write!(f, "{family} addresses of {}", target.trim_end_matches('.')),
        }
    }
}

impl Answer {
    /// `ttl`: the shortest of the records'; `longest`: the application's. `refuses` tells which addresses are no origin.
    pub(super) fn new(
        found: Vec<Found>,
        ttl: Duration,
        longest: Duration,
        mut refuses: impl FnMut(&Found) -> bool,
    ) -> Result<Self, Unresolved> {
        if found.is_empty() {
            return Err(Unresolved::NoRecord);
        }
        let mut origins: Vec<Found> = Vec::new();
        let mut met = HashSet::new();
        for mut one in found {
            if origins.len() == MOST {
                break;
            }
            one.address = one.address.to_canonical();
            if met.insert((one.address, one.record.port)) && one.record.port != Some(0) && !refuses(&one) {
                origins.push(one);
            }
        }
        if origins.is_empty() {
            return Err(Unresolved::Refused);
        }
        Ok(Self { origins, ttl: ttl.clamp(SHORTEST, longest.max(SHORTEST)) })
    }
}

/// When to ask again after so many failures one after the other: at first soon, then seldom.
pub(super) fn again_after(failures: u32) -> Duration {
    const LONGEST: Duration = Duration::from_mins(1);
    SHORTEST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST)
}

impl Unresolved {
    /// The product's status code.
    pub const fn status(self) -> u16 {
        match self {
            Self::Failed => 530,
            Self::NoRecord => 531,
            Self::Refused => 532,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_mins(10);

    fn found(address: &str) -> Found {
        Found { address: address.parse().unwrap(), record: Record::PLAIN }
    }

    fn answer(addresses: &[&str], ttl: u64) -> Result<Answer, Unresolved> {
        let found = addresses.iter().map(|address| found(address)).collect();
        let own: IpAddr = "198.51.100.1".parse().unwrap();
        Answer::new(found, Duration::from_secs(ttl), LONGEST, |one| one.address == own)
    }

    #[test]
    fn the_records_life_is_clamped_at_both_ends() {
        for (ttl, used) in [(0, 5), (5, 5), (60, 60), (86_400, 600)] {
            assert_eq!(answer(&["192.0.2.1"], ttl).unwrap().ttl.as_secs(), used);
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_left_out() {
        let got = answer(&["198.51.100.1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"], 60).unwrap();
        assert_eq!(got.origins, [found("192.0.2.1"), found("192.0.2.2")]);
        assert_eq!(answer(&["198.51.100.1"], 60), Err(Unresolved::Refused));
        assert_eq!(answer(&[], 60), Err(Unresolved::NoRecord));
    }

    #[test]
    fn a_huge_answer_is_cut() {
        let many = (0..5000_u32)
            .map(|n| Found { address: IpAddr::from((0x0a00_0000 | n).to_be_bytes()), ..found("10.0.0.1") });
        let answer = Answer::new(many.collect(), Duration::ZERO, LONGEST, |_| false).unwrap();
        assert_eq!(answer.origins.len(), MOST);
    }

    #[test]
    fn what_was_known_of_a_part_that_is_missing_stays_and_its_record_is_the_new_one() {
        let of = |target: &str, weight| Record { target: Some(target.into()), port: Some(7), priority: 1, weight };
        let known: Vec<Found> = [("192.0.2.1", "a."), ("2001:db8::1", "a."), ("192.0.2.2", "b."), ("192.0.2.3", "c.")]
            .map(|(address, target)| Found { record: of(target, 1), ..found(address) })
            .into();
        let reply = Reply {
            found: vec![Found { record: of("a.", 1), ..found("192.0.2.9") }],
            ttl: Duration::ZERO,
            missing: vec![
                Missing { record: of("a.", 1), is_v6: true },
                Missing { record: of("b.", 5), is_v6: false },
                Missing { record: of("b.", 5), is_v6: true },
            ],
        };
        let all: Vec<(String, u16)> =
            reply.with(&known).iter().map(|one| (one.address.to_string(), one.record.weight)).collect();
        let expected = [("192.0.2.9", 1), ("2001:db8::1", 1), ("192.0.2.2", 5)];
        assert_eq!(all, expected.map(|(address, weight)| (address.to_owned(), weight)), "of c. nothing is missing");
    }

    #[test]
    fn failures_are_asked_about_less_and_less_often() {
        let seconds: Vec<u64> = [1, 2, 3, 4, 5, 1000, u32::MAX].map(|n| again_after(n).as_secs()).to_vec();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60, 60]);
    }
}
