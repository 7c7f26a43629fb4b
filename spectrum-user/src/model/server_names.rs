//! The names by which clients of TLS choose between applications that share an address.

use std::fmt;

/// What clients may ask for by the server name of their ClientHello (RFC 6066, section 3): names in lower case, of which
/// `*.example.com` is every name with one label more. Empty: whatever a client asks for, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames(Vec<String>);

/// How close a name is to what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closeness {
    Wildcard,
    Exact,
}

impl ServerNames {
    /// Names that are checked, in lower case.
    pub const fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Those that are a host's: no wildcards.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|name| !name.starts_with("*."))
    }

    /// A name that both have: clients that ask for it could not choose.
    pub fn common<'n>(&'n self, other: &Self) -> Option<&'n str> {
        self.iter().find(|name| other.0.iter().any(|theirs| theirs == name))
    }

    /// Whether `name`, in lower case, is one of these, and how closely. No two wildcards can cover one name.
    pub fn closeness(&self, name: &str) -> Option<Closeness> {
        let close = |known: &str| if known.starts_with("*.") { Closeness::Wildcard } else { Closeness::Exact };
        self.iter().filter(|known| covers(known, name)).map(close).max()
    }
}

/// Whether `pattern`, a normal name, is `name` or a wildcard for it: `*` stands for exactly one label, the first (RFC 9525,
/// section 6.3).
pub fn covers(pattern: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(above), Some((label, rest))) => {
            !label.is_empty() && label != "*" && !rest.is_empty() && above.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

impl fmt::Display for ServerNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> ServerNames {
        ServerNames::new(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_name_is_itself_or_has_one_label_more_than_a_wildcard() {
        let own = names(&["a.example.com", "*.b.example.com"]);
        for (name, closeness) in [
            ("a.example.com", Some(Closeness::Exact)),
            ("a.example.com.", Some(Closeness::Exact)),
            ("x.b.example.com", Some(Closeness::Wildcard)),
            ("b.example.com", None),
            ("x.y.b.example.com", None),
            ("example.com", None),
            ("xa.example.com", None),
            ("com", None),
            ("", None),
        ] {
            assert_eq!(own.closeness(name), closeness, "{name}");
        }
        assert!(Closeness::Exact > Closeness::Wildcard);
        assert_eq!(names(&[]).closeness("a.example.com"), None);
    }

    #[test]
    fn names_are_common_as_they_are_written() {
        let own = names(&["a.example.com", "*.example.com"]);
        assert_eq!(own.common(&names(&["b.example.com", "*.example.com"])), Some("*.example.com"));
        assert_eq!(own.common(&names(&["b.example.com"])), None, "the exact name is closer");
        assert_eq!(own.hosts().collect::<Vec<_>>(), ["a.example.com"]);
    }
}
