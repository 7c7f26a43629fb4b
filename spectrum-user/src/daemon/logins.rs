//! Where people are logged into this host from, as logind has it: for a reload by a signal, which says nothing of who
//! sent it.
//!
//! One file for each session, the ones that `sd_session_get_remote_host(3)` reads. Where there is no logind, nobody is
//! known to be logged in.

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path};

const SESSIONS: &str = "/run/systemd/sessions";
/// Sessions beyond are not looked at.
const MOST: usize = 1024;

/// How the address of such a session is known.
pub(super) const LOGIN: &str = "where somebody is logged into this host from: it could cut off an operator \
                                 (`spectrum reload` asks for your own connection alone)";

pub(super) fn addresses() -> Vec<IpAddr> {
    let found: BTreeSet<IpAddr> = files(Path::new(SESSIONS)).iter().filter_map(|session| remote(session)).collect();
    found.into_iter().collect()
}

fn files(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    // Beside them lie the sessions' FIFOs, which nobody must open.
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.take(MOST).filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
}

/// The address behind a session that somebody has open over the network. A name in its place is not looked up.
fn remote(session: &str) -> Option<IpAddr> {
    let value = |key: &str| {
        let of_key =
            |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(|value| value.trim_matches('"').to_owned());
        session.lines().find_map(of_key)
    };
    if value("REMOTE")? != "1" || value("STATE").is_some_and(|state| state == "closing") {
        return None;
    }
    let host = value("REMOTE_HOST")?;
    let address: IpAddr = host.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_sessions_over_the_network_have_an_address() {
        let session = "# This is private data. Do not parse.\nUID=0\nUSER=root\nACTIVE=1\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\n";
        let known = |text: String| remote(&text).map(|address| address.to_string());
        assert_eq!(known(session.to_owned()).as_deref(), Some("192.0.2.7"));
        assert_eq!(known(session.replace("192.0.2.7", "\"::ffff:192.0.2.7\"")).as_deref(), Some("192.0.2.7"));
        assert_eq!(known(session.replace("192.0.2.7", "fe80::1%eth0")).as_deref(), Some("fe80::1"));
        assert_eq!(known(session.replace("192.0.2.7", "client.example.com")), None);
        assert_eq!(known(session.replace("STATE=active", "STATE=closing")), None);
        assert_eq!(known(session.replace("REMOTE=1", "REMOTE=0")), None);
        assert_eq!(known(String::new()), None);
    }

    #[test]
    fn a_host_without_logind_has_no_sessions() {
        assert!(files(Path::new("/nonexistent")).is_empty());
    }
}
