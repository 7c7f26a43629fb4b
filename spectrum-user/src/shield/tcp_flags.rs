//! The flags of a TCP segment by their names.

use std::{fmt, str::FromStr};

/// As they stand in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(pub u8);

/// A name that no flag has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFlag;

const NAMES: [(u8, &str); 8] =
    [(1, "FIN"), (2, "SYN"), (4, "RST"), (8, "PSH"), (16, "ACK"), (32, "URG"), (64, "ECE"), (128, "CWR")];
const NONE: &str = "none";

impl TcpFlags {
    /// Asks for a connection.
    pub const fn asks(self) -> bool {
        self.0 & 2 != 0 && self.0 & 16 == 0
    }
}

/// `SYN|ACK`; `none` where there are none.
impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<&str> = NAMES.into_iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| name).collect();
        f.write_str(&if set.is_empty() { NONE.to_owned() } else { set.join("|") })
    }
}

impl FromStr for TcpFlags {
    type Err = NoFlag;

    fn from_str(text: &str) -> Result<Self, NoFlag> {
        if text == NONE {
            return Ok(Self(0));
        }
        let bit = |name: &str| NAMES.into_iter().find(|(_, known)| *known == name).map(|(bit, _)| bit).ok_or(NoFlag);
        text.split('|').try_fold(0, |bits, name| Ok(bits | bit(name)?)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_written_and_read_back() {
        assert_eq!((TcpFlags(0x12).to_string().as_str(), TcpFlags(0).to_string().as_str()), ("SYN|ACK", "none"));
        assert!((0..=255).map(TcpFlags).all(|flags| flags.to_string().parse() == Ok(flags)));
        assert_eq!("SIN".parse::<TcpFlags>(), Err(NoFlag));
        assert!(TcpFlags(0x42).asks() && !TcpFlags(0x12).asks() && !TcpFlags(4).asks());
    }
}
