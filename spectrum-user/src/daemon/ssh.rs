//! Who is connected to this host by SSH, as the kernel has it: true also where nobody writes down who is logged in.

use std::{fs, net::IpAddr};

use super::sockets::socket;

/// The peers of established connections to port 22.
pub(super) fn addresses() -> Vec<IpAddr> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let texts = tables.into_iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.flat_map(|text| text.lines().filter_map(peer).collect::<Vec<_>>()).collect()
}

/// The other end of an established connection to port 22, out of a line of the kernel's table.
fn peer(line: &str) -> Option<IpAddr> {
    let socket = socket(line)?;
    (socket.local.port() == 22 && socket.state == ESTABLISHED).then(|| socket.remote.ip())
}

/// `TCP_ESTABLISHED` of `include/net/tcp_states.h`.
const ESTABLISHED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_connected_by_ssh_is_read_off_the_kernels_table() {
        let lines = [
            ("  1: 010200C0:0016 070200C0:C350 01 00000000:00000000 00:00000000", Some("192.0.2.7")),
            ("  1: 010200C0:0016 070200C0:C350 06 00000000:00000000 00:00000000", None),
            ("  1: 010200C0:01BB 070200C0:C350 01 00000000:00000000 00:00000000", None),
            ("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when", None),
            (
                "  0: 00000000000000000000000000000000:0016 B80D0120000000000000000007000000:C350 01 0:0",
                Some("2001:db8::7"),
            ),
            (
                "  0: 0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF0000070200C0:C350 01 0:0",
                Some("192.0.2.7"),
            ),
        ];
        for (line, expected) in lines {
            assert_eq!(peer(line), expected.map(|address| address.parse().unwrap()), "{line}");
        }
    }
}
