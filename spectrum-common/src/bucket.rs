//! A token bucket that needs no timer: it refills from the time that has passed when it is asked.

use bytemuck::{Pod, Zeroable};

/// State of one bucket. All zero is a bucket that has never been asked: its first question finds it full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Bucket {
    /// When it was last refilled, monotonic nanoseconds.
    pub refilled_ns: u64,
    /// Tokens left.
    pub tokens: u32,
    /// 1 once it has been filled for the first time.
    pub started: u32,
}

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Tokens at once.
    pub burst: u32,
    /// Tokens per second, at least 1.
    pub per_second: u32,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Bucket {
    /// Takes one token at `now_ns` if there is one. A clock that stands still or runs backwards adds nothing.
    #[inline(always)]
    pub fn take(&mut self, now_ns: u64, rate: Rate) -> bool {
        self.refill(now_ns, rate);
        if self.tokens == 0 {
            return false;
        }
        self.tokens -= 1;
        true
    }

    #[inline(always)]
    fn refill(&mut self, now_ns: u64, rate: Rate) {
        if self.started == 0 {
            *self = Self { refilled_ns: now_ns, tokens: rate.burst, started: 1 };
            return;
        }
        let interval_ns = SECOND_NS / u64::from(rate.per_second);
        let elapsed_ns = now_ns.saturating_sub(self.refilled_ns);
        if elapsed_ns >= interval_ns.saturating_mul(u64::from(rate.burst)) {
            self.tokens = rate.burst;
            self.refilled_ns = now_ns;
            return;
        }
        // Below `burst`, by the check above.
        let earned = elapsed_ns / interval_ns;
        self.tokens =
            core::cmp::min(rate.burst, self.tokens.saturating_add(u32::try_from(earned).unwrap_or(rate.burst)));
        self.refilled_ns += earned * interval_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, per_second: 10 };

    fn drain(bucket: &mut Bucket, now_ns: u64) -> u32 {
        (0..100).map(|_| u32::from(bucket.take(now_ns, RATE))).sum()
    }

    #[test]
    fn starts_full_and_refills_at_its_rate() {
        let mut bucket = Bucket::default();
        assert_eq!(drain(&mut bucket, 5), 3);
        assert_eq!(drain(&mut bucket, 5 + 99_999_999), 0);
        assert_eq!(drain(&mut bucket, 5 + 100_000_000), 1);
        assert_eq!(drain(&mut bucket, 5 + 350_000_000), 2);
        assert_eq!(drain(&mut bucket, 5 + 400_000_000), 1, "the half interval was not lost");
    }

    #[test]
    fn never_holds_more_than_its_burst() {
        let mut bucket = Bucket::default();
        drain(&mut bucket, 1);
        assert_eq!(drain(&mut bucket, u64::MAX), 3);
    }

    #[test]
    fn a_clock_that_runs_backwards_adds_nothing() {
        let mut bucket = Bucket::default();
        drain(&mut bucket, SECOND_NS);
        assert_eq!(drain(&mut bucket, 0), 0);
    }
}
