//! Who uses the way, across processes: each holds a socket with an abstract name, and those are listed by the kernel.
//!
//! Such names belong to the network namespace, as the rules do: containers on one network see each other's, whatever they
//! have in `/run`. The kernel releases them however a process ends. Anybody may take one, root or not: all that it gains
//! him is that rules stay where the last one ended.

use std::{
    fs, io,
    net::Shutdown,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
};

const PREFIX: &str = "spectrum-unwrap/";
/// How they are listed: a name's first byte is zero, which is shown so.
const LISTED: &str = "@spectrum-unwrap/";
const LIST: &str = "/proc/thread-self/net/unix";

/// One who uses the way.
#[derive(Debug)]
pub(super) struct User {
    name: String,
    _socket: UnixDatagram,
}

impl User {
    pub(super) fn join() -> io::Result<Self> {
        // Process ids are not unique among containers on one network.
        for number in 0..=u16::MAX {
            let name = format!("{PREFIX}{}.{number}", process::id());
            match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?) {
                Ok(socket) => {
                    // Nobody has anything to say to it.
                    socket.shutdown(Shutdown::Both)?;
                    return Ok(Self { name, _socket: socket });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// All who use it now, by name.
pub(super) fn users() -> io::Result<Vec<String>> {
    Ok(listed(&fs::read_to_string(LIST)?))
}

/// The last column of those lines that have one (`unix_seq_show`, `net/unix/af_unix.c`).
fn listed(list: &str) -> Vec<String> {
    let paths = list.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter_map(|path| Some(format!("{PREFIX}{}", path.strip_prefix(LISTED)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joined_is_listed_until_it_has_left() {
        let (one, other) = (User::join().unwrap(), User::join().unwrap());
        assert_ne!(one.name(), other.name());
        let name = one.name().to_owned();
        assert!(users().unwrap().contains(&name));
        drop(one);
        assert!(!users().unwrap().contains(&name));
        assert!(users().unwrap().contains(&other.name().to_owned()));
    }

    #[test]
    fn names_of_others_are_no_users() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    ffff: 00000002 00000000 00010000 0001 01 17 /run/spectrum-unwrap/1.0\n\
                    ffff: 00000002 00000000 00000000 0002 01 18\n\
                    ffff: 00000002 00000000 00000000 0002 01 19 @spectrum-unwrap/12.0\n\
                    ffff: 00000002 00000000 00000000 0002 01 20 @spectrum\n";
        assert_eq!(listed(list), ["spectrum-unwrap/12.0"]);
    }
}
