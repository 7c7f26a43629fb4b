//! Which packets become samples: one in so many that there are never more than a rate allows.
//!
//! Between two looks a packet costs one subtraction and no clock. How far the looks lie apart follows the traffic: where
//! little passes every packet is a sample, in a flood one in many thousands. The distance is drawn anew each time, so that
//! nobody can arrange his packets so that the samples show another sender than the one who floods.

use bytemuck::{Pod, Zeroable};

use crate::bucket::{Bucket, Rate};

/// State of one sampler. All zero is one that has seen nothing: its first packet is a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Stride {
    /// How many samples there may be.
    pub bucket: Bucket,
    /// Packets until the next look, that one included.
    pub left: u32,
    /// Packets between two looks on average: a power of two, 0 before the first look.
    pub every: u32,
    /// Packets since the last sample, up to the next look and with it.
    pub weight: u32,
    pub zero: u32,
}

/// The most that looks lie apart on average: so many packets may pass unseen after a flood.
const MOST: u32 = 1024;

impl Stride {
    /// Whether the next packet is looked at.
    #[inline(always)]
    pub const fn is_due(&self) -> bool {
        self.left <= 1
    }

    /// One packet passes. Whether it is to be looked at.
    #[inline(always)]
    pub const fn pass(&mut self) -> bool {
        if self.is_due() {
            return true;
        }
        self.left -= 1;
        false
    }

    /// Looks at a packet. As a sample it stands for as many packets as is answered, itself included: their sum is how many
    /// packets there were, whatever they were.
    #[inline(always)]
    pub fn look(&mut self, now_ns: u64, random: u32, rate: Rate) -> Option<u32> {
        let taken = self.bucket.take(now_ns, rate);
        let weight = core::cmp::max(self.weight, 1);
        self.every = self.distance(taken, rate.burst);
        // From 1 to twice the distance less one; one alone is always one.
        let gap = 1 + (random & (2 * self.every - 2 + u32::from(self.every > 1)));
        self.left = gap;
        self.weight = if taken { gap } else { weight.saturating_add(gap) };
        taken.then_some(weight)
    }

    #[inline(always)]
    fn distance(&self, taken: bool, burst: u32) -> u32 {
        let every = core::cmp::max(self.every, 1);
        let tokens = self.bucket.tokens;
        if taken && tokens + 1 >= burst {
            1
        } else if tokens > burst / 2 {
            core::cmp::max(every / 2, 1)
        } else if tokens < burst / 4 {
            core::cmp::min(every * 2, MOST)
        } else {
            every
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 64, per_second: 256 };
    const SECOND_NS: u64 = 1_000_000_000;

    /// A generator that is good enough to draw distances with (Marsaglia's xorshift32).
    struct Random(u32);

    impl Random {
        fn next(&mut self) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            self.0
        }
    }

    /// `packets` in a second; the weights by index of the packet.
    fn second(stride: &mut Stride, begin_ns: u64, packets: u64, random: &mut Random) -> Vec<(u64, u32)> {
        let at = |packet| begin_ns + packet * SECOND_NS / packets;
        let mut sampled = |packet| if stride.pass() { stride.look(at(packet), random.next(), RATE) } else { None };
        (0..packets).filter_map(|packet| Some((packet, sampled(packet)?))).collect()
    }

    #[test]
    fn where_little_passes_every_packet_is_a_sample() {
        let mut stride = Stride::default();
        let samples = second(&mut stride, 1, 100, &mut Random(1));
        assert_eq!(samples.len(), 100);
        assert!(samples.iter().all(|(_, weight)| *weight == 1));
    }

    #[test]
    fn the_weights_add_up_to_the_packets() {
        let (mut stride, mut random) = (Stride::default(), Random(7));
        let mut told = 0;
        for (second_, packets) in [50, 1_000_000, 10, 300_000, 5_000].into_iter().enumerate() {
            let begin = 1 + second_ as u64 * SECOND_NS;
            told += second(&mut stride, begin, packets, &mut random).iter().map(|(_, w)| u64::from(*w)).sum::<u64>();
        }
        // What has passed since the last sample is not told yet.
        let untold = u64::from(stride.weight - stride.left);
        assert_eq!(told + untold, 50 + 1_000_000 + 10 + 300_000 + 5_000);
    }

    #[test]
    fn a_flood_has_no_more_samples_than_the_rate_and_few_looks() {
        let (mut stride, mut random) = (Stride::default(), Random(3));
        second(&mut stride, 1, 3_000_000, &mut random);
        let samples = second(&mut stride, 1 + SECOND_NS, 3_000_000, &mut random);
        assert!((200..=320).contains(&samples.len()), "{}", samples.len());
        assert_eq!(stride.every, MOST);
    }

    #[test]
    fn a_rate_in_between_is_followed() {
        for packets in [1_000, 10_000, 100_000] {
            let (mut stride, mut random) = (Stride::default(), Random(5));
            second(&mut stride, 1, packets, &mut random);
            let samples = second(&mut stride, 1 + SECOND_NS, packets, &mut random);
            assert!((120..=330).contains(&samples.len()), "{} of {packets}", samples.len());
        }
    }

    #[test]
    fn packets_that_come_in_turns_are_sampled_in_their_shares() {
        // 256 senders in turns: with fixed distances of a power of two one of them would seem to be all there is.
        let (mut stride, mut random) = (Stride::default(), Random(11));
        second(&mut stride, 1, 1_000_000, &mut random);
        let mut of_sender = [0_u64; 256];
        for begin in 1..=8 {
            for (packet, weight) in second(&mut stride, 1 + begin * SECOND_NS, 1_000_000, &mut random) {
                of_sender[usize::try_from(packet % 256).unwrap()] += u64::from(weight);
            }
        }
        let most = of_sender.iter().max().unwrap();
        assert!(*most < 8_000_000 / 256 * 6, "{most} of 8,000,000 for one of 256");
    }

    #[test]
    fn it_wakes_up_after_a_flood() {
        let (mut stride, mut random) = (Stride::default(), Random(13));
        second(&mut stride, 1, 3_000_000, &mut random);
        // At most twice the largest distance goes by unseen; what finds the bucket full is followed by what is seen.
        second(&mut stride, 10 * SECOND_NS, 2 * u64::from(MOST), &mut random);
        second(&mut stride, 20 * SECOND_NS, 60, &mut random);
        assert_eq!(second(&mut stride, 30 * SECOND_NS, 60, &mut random).len(), 60);
    }
}
