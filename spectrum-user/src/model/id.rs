//! Identities of objects: 16 bytes, written as 32 hex digits as the product does.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

/// Not 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hex digits")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id of an object that was not given one: the first half of the SHA-256 of what makes it unique.
            pub fn derive(parts: &[&str]) -> Self {
                Self(derive(parts))
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            pub const fn bytes(self) -> [u8; 16] {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(s: &str) -> Result<Self, InvalidId> {
                parse(s).map(Self).ok_or(InvalidId)
            }
        }
    };
}

id! {
    /// An application.
    AppId
}
id! {
    /// An access rule.
    RuleId
}
id! {
    /// A zone.
    ZoneId
}

fn derive(parts: &[&str]) -> [u8; 16] {
    let digest = Sha256::digest(parts.join("\n"));
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(byte, digest)| *byte = digest);
    id
}

fn parse(s: &str) -> Option<[u8; 16]> {
    if s.len() != 32 || !s.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(s, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_the_same_digits() {
        let id = ZoneId::derive(&["example.com"]);
        assert_eq!(id.to_string().parse::<ZoneId>(), Ok(id));
        assert_eq!(id.to_string(), "a379a6f6eeafb9a55e378c118034e275", "first half of SHA-256(\"example.com\")");
    }

    #[test]
    fn refuses_what_is_not_32_hex_digits() {
        for bad in ["", "12", "zz79a6f6eeafb9a55e378c118034e275", "+379a6f6eeafb9a55e378c118034e275"] {
            assert_eq!(bad.parse::<AppId>(), Err(InvalidId), "{bad}");
        }
    }
}
