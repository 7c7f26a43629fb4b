//! Where the operator who runs this command is connected from.

use std::{collections::BTreeSet, fs, net::IpAddr};

use crate::daemon::Wishes;

/// The clients of the SSH sessions that this process and its ancestors belong to. `sudo` takes the variables of a
/// session away, so the processes above are read too.
pub(super) fn addresses() -> Vec<IpAddr> {
    let mut found = BTreeSet::new();
    found.extend(VARIABLES.iter().filter_map(|name| client(&std::env::var(name).ok()?)));
    let mut process = std::process::id();
    for _ in 0..MOST_ANCESTORS {
        let Some(parent) = parent(process).filter(|parent| *parent > 1) else { break };
        // Not ours to read: then it is not known.
        let environment = fs::read(format!("/proc/{parent}/environ")).unwrap_or_default();
        for variable in environment.split(|byte| *byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok()) {
            let value = variable.split_once('=').filter(|(name, _)| VARIABLES.contains(name)).map(|(_, value)| value);
            found.extend(value.and_then(client));
        }
        process = parent;
    }
    found.into_iter().collect()
}

/// What a command asks for that could cut off who types it.
pub(super) fn wishes(force: bool) -> Wishes {
    Wishes { force, operator: addresses() }
}

/// `SSH_CONNECTION` and `SSH_CLIENT` begin with the client's address (sshd(8)); a scope may follow it.
fn client(value: &str) -> Option<IpAddr> {
    let address = value.split_whitespace().next()?;
    let address: IpAddr = address.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

/// `man 5 proc`: behind the command's closing parenthesis come the state and the parent.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

const VARIABLES: [&str; 2] = ["SSH_CONNECTION", "SSH_CLIENT"];
const MOST_ANCESTORS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_the_client() {
        for (value, expected) in [
            ("192.0.2.7 50000 198.51.100.1 22", Some("192.0.2.7")),
            ("::ffff:192.0.2.7 50000 22", Some("192.0.2.7")),
            ("fe80::1%eth0 50000 fe80::2%eth0 22", Some("fe80::1")),
            ("", None),
            ("somewhere 1 2", None),
        ] {
            assert_eq!(client(value), expected.map(|address| address.parse().unwrap()), "{value}");
        }
    }

    #[test]
    fn every_process_but_the_first_has_a_parent() {
        assert!(parent(std::process::id()).is_some());
        assert_eq!(parent(u32::MAX), None);
    }
}
