//! Names of certificates: which name covers which (RFC 9525, section 6.3), and how they are written in file names.

use std::path::Path;

pub(in crate::tls) use crate::model::covers;

/// A name as it is compared: in lower case, without the root's dot.
pub(super) fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The wildcard that covers `name`, a normal name.
pub(super) fn wildcard_for(name: &str) -> Option<String> {
    let (label, rest) = name.split_once('.')?;
    (!label.is_empty() && label != "*" && !rest.is_empty()).then(|| format!("*.{rest}"))
}

/// The hostname that a file or directory is named for. `_.` stands for `*.`, which shells and some tools would take for
/// something else.
pub(super) fn of_file(stem: &str) -> String {
    match stem.strip_prefix("_.") {
        Some(above) => normal(&format!("*.{above}")),
        None => normal(stem),
    }
}

/// Whether a name of a certificate can be a host's: letters, digits, `-`, `_` and dots, perhaps behind `*.`. Others cover
/// nothing, and what they hold should reach no terminal.
pub(super) fn is_plausible(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    !rest.is_empty()
        && name.len() <= 254
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Text of a certificate for people: no control characters, and not too long.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut printable = text.chars().take(LONGEST).map(visible).collect::<String>();
    if text.chars().nth(LONGEST).is_some() {
        printable.push('…');
    }
    printable
}

/// A path for people.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(visible).collect()
}

fn visible(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9525 once more, label by label and with no thought of speed.
    fn naive(pattern: &str, name: &str) -> bool {
        let split = |name: &str| -> Vec<String> {
            let mut labels: Vec<String> = name.split('.').map(str::to_ascii_lowercase).collect();
            if labels.len() > 1 && labels.last().is_some_and(String::is_empty) {
                labels.pop();
            }
            labels
        };
        let (pattern, name) = (pattern.split('.').map(str::to_owned).collect::<Vec<_>>(), split(name));
        if pattern == name {
            return true;
        }
        pattern.len() >= 2
            && pattern.len() == name.len()
            && pattern[0] == "*"
            && !name[0].is_empty()
            && name[0] != "*"
            && name[1..].iter().any(|label| !label.is_empty())
            && pattern[1..] == name[1..]
    }

    proptest! {
        #[test]
        fn covers_as_the_naive_reading_does(
            pattern in r"(\*\.|[ab]\.)?[abc-]{1,2}(\.[ab]{1,2}){0,2}",
            name in r"(\*\.|[aAbB]{0,2}\.)?[aAbc-]{1,2}(\.[abAB]{1,2}){0,2}\.?",
        ) {
            prop_assert_eq!(covers(&pattern, &name), naive(&pattern, &name));
        }

        #[test]
        fn a_wildcard_made_from_a_name_covers_it(name in r"[a-c]{1,3}(\.[a-c]{1,3}){1,3}") {
            let wildcard = wildcard_for(&name).unwrap();
            prop_assert!(covers(&wildcard, &name));
            let deeper = format!("x.{name}");
            prop_assert!(!covers(&wildcard, &deeper));
        }

        #[test]
        fn no_text_makes_it_panic(pattern in ".*", name in ".*") {
            covers(&pattern, &name);
            wildcard_for(&name);
            printable(&name);
        }
    }

    #[test]
    fn one_label_and_no_more() {
        for (pattern, name, expected) in [
            ("example.com", "EXAMPLE.com", true),
            ("example.com", "example.com.", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "A.EXAMPLE.COM.", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "*.example.com", true),
            ("a*.example.com", "ab.example.com", false),
            ("*", "com", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} for {name}");
        }
    }
}
