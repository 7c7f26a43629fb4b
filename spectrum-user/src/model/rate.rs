//! Packets in a second: `100/s`.

use std::{fmt, str::FromStr};

/// At least one packet in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketRate(u32);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    #[error("a rate is a whole number of packets in a second, and its unit")]
    Form,
    #[error("a rate is from 1/s to {}/s", PacketRate::MOST)]
    OutOfRange,
}

impl PacketRate {
    /// More packets than any interface takes in.
    pub const MOST: u32 = 1_000_000_000;

    pub const fn new(per_second: u32) -> Option<Self> {
        if per_second == 0 || per_second > Self::MOST { None } else { Some(Self(per_second)) }
    }

    pub const fn per_second(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PacketRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for PacketRate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let number = text.strip_suffix("/s").ok_or(InvalidRate::Form)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidRate::Form);
        }
        number.parse().ok().and_then(Self::new).ok_or(InvalidRate::OutOfRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_one_form() {
        assert_eq!("100/s".parse(), Ok(PacketRate(100)));
        assert_eq!("1000000000/s".parse::<PacketRate>().map(|rate| rate.to_string()), Ok("1000000000/s".to_owned()));
        for form in ["", "100", "/s", "1.5/s", "-1/s", "+1/s", "100/m", "100 /s", "100/S", "1e3/s"] {
            assert_eq!(form.parse::<PacketRate>(), Err(InvalidRate::Form), "{form}");
        }
        for range in ["0/s", "1000000001/s", "99999999999999999999/s"] {
            assert_eq!(range.parse::<PacketRate>(), Err(InvalidRate::OutOfRange), "{range}");
        }
    }
}
