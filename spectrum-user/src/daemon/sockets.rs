//! The kernel's table of TCP sockets, in this thread's network namespace: a line of it, and who listens.

use std::{
    fs::File,
    io::{self, BufReader},
    net::{IpAddr, SocketAddr},
};

/// One line of `/proc/net/tcp` or `tcp6`. Addresses are canonical.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// As `include/net/tcp_states.h` numbers them.
    pub(super) state: u8,
}

/// Every address and port on which a program of this host listens.
#[derive(Debug)]
pub(super) struct Listening(Vec<SocketAddr>);

/// `TCP_LISTEN` of `include/net/tcp_states.h`.
const LISTEN: u8 = 10;

/// Out of a line (`tcp4_seq_show`, `net/ipv4/tcp_ipv4.c`). None: it is the head, or none that we know.
pub(super) fn socket(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    let state = u8::from_str_radix(state, 16).ok()?;
    Some(Socket { local: address(local)?, remote: address(remote)?, state })
}

/// Addresses are words in the byte order of the machine, ports are in ours.
fn address(word: &str) -> Option<SocketAddr> {
    let (address, port) = word.rsplit_once(':')?;
    let mut octets = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(&*octets) {
        Ok(octets) => IpAddr::from(octets),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&*octets).ok()?),
    };
    Some(SocketAddr::new(address.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

impl Listening {
    pub(super) fn read() -> io::Result<Self> {
        let mut all = Vec::new();
        for path in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
            match File::open(path) {
                Ok(table) => listeners(BufReader::new(table), &mut all)?,
                // This kernel has no IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound && path.ends_with('6') => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(all))
    }

    /// Whether one of them would get a connection to this address and port. A socket on `::` may take IPv4 as well: whether it
    /// does the table does not say.
    pub(super) fn holds(&self, at: SocketAddr) -> bool {
        let any = |ip: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || at.is_ipv4());
        self.0.iter().any(|socket| socket.port() == at.port() && (socket.ip() == at.ip() || any(socket.ip())))
    }
}

/// They come first (`tcp_get_idx`, `net/ipv4/tcp_ipv4.c`): the many that are open are not read.
fn listeners(table: impl io::BufRead, all: &mut Vec<SocketAddr>) -> io::Result<()> {
    for line in table.lines() {
        match socket(&line?) {
            Some(socket) if socket.state == LISTEN => all.push(socket.local),
            Some(_) => break,
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Listening {
        let mut all = Vec::new();
        listeners(lines.as_bytes(), &mut all).unwrap();
        Listening(all)
    }

    #[test]
    fn who_listens_is_read_off_the_kernels_table() {
        let v4 = of("  sl  local_address rem_address   st tx_queue\n\
             0: 010200C0:0050 00000000:0000 0A 00000000:00000000\n\
             1: 00000000:01BB 00000000:0000 0A 00000000:00000000\n\
             2: 010200C0:1F90 070200C0:C350 01 00000000:00000000\n");
        let holds = |listening: &Listening, at: &str| listening.holds(at.parse().unwrap());
        assert!(holds(&v4, "192.0.2.1:80") && holds(&v4, "192.0.2.9:443"));
        for other in ["192.0.2.9:80", "192.0.2.1:8080", "[2001:db8::1]:443", "192.0.2.1:81"] {
            assert!(!holds(&v4, other), "{other}");
        }
        let v6 = of("  0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0\n");
        assert!(holds(&v6, "[2001:db8::1]:80") && holds(&v6, "192.0.2.1:80"));
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert!(Listening::read().unwrap().holds(at));
        drop(listener);
        assert!(!Listening::read().unwrap().holds(at));
    }
}
