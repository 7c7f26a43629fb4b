//! The name that a client asks for (RFC 6066, section 3).
//!
//! Deliberately not here: whether anything is served under it.

use super::{Why, body::Reader};

const HOST_NAME: u8 = 0;
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What a client asks for.
#[derive(Default)]
pub(super) enum Asked {
    /// No name, or a kind of names that nobody knows.
    #[default]
    Nothing,
    /// In lower case.
    Name(String),
    /// What cannot be a name, or more than one.
    Invalid,
}

/// Reads the data of the extension.
pub(super) fn read(data: &[u8]) -> Result<Asked, Why> {
    let malformed = Why::Malformed("server name");
    let mut rest = Reader(data);
    let mut list = Reader(rest.long().filter(|list| !list.is_empty() && rest.0.is_empty()).ok_or(malformed)?);
    let mut asked = Asked::Nothing;
    while !list.0.is_empty() {
        let kind = list.u8().ok_or(malformed)?;
        // Other kinds were never defined; everybody takes them for this shape.
        let name = list.long().ok_or(malformed)?;
        if kind == HOST_NAME {
            asked = match (asked, host_name(name)) {
                (Asked::Nothing, Some(name)) => Asked::Name(name),
                _ => Asked::Invalid,
            };
        }
    }
    Ok(asked)
}

/// ASCII, so a name of another script is in its A-labels. Underscores are no hostname's, and in use.
fn host_name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok().filter(|name| name.len() <= LONGEST)?;
    // Also in its short forms, as 127.1: no top-level domain is a number (RFC 3696, section 2).
    let is_address = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (!is_address && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}
