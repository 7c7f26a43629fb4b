//! Answers that nobody asked for: what reflectors send to whom an attacker has named as the source of his question.
//!
//! A server's clients ask. So a datagram to an application that is an answer, or comes from where only answers come from, is
//! one that somebody else has asked for in the application's name.

/// Whether servers answer from this port of questions that are much shorter than their answers, and clients do not ask
/// from it.
#[inline(always)]
pub const fn is_reflector(port: u16) -> bool {
    matches!(
        port,
        17 // quote of the day
        | 19 // character generator
        | 53 // DNS
        | 69 // TFTP
        | 111 // portmapper
        | 123 // NTP
        | 137 // NetBIOS names
        | 161 // SNMP
        | 177 // XDMCP
        | 389 // CLDAP
        | 427 // SLP
        | 520 // RIP version 1
        | 1434 // SQL Server browser
        | 1900 // SSDP
        | 3283 // Apple remote desktop
        | 3702 // WS-Discovery
        | 5093 // Sentinel license manager
        | 5353 // multicast DNS
        | 5683 // CoAP
        | 10001 // Ubiquiti discovery
        | 11211 // memcached
        | 27005
            ..=27050 // game servers' queries
        | 32414 // Plex discovery
        | 37810 // DVR discovery
    )
}

/// The first bytes of a datagram: none, four or eight.
#[derive(Clone, Copy)]
pub struct Head {
    bytes: u64,
    length: u8,
}

impl Head {
    pub const NONE: Self = Self { bytes: 0, length: 0 };

    /// Words as they lie in memory.
    #[inline(always)]
    pub const fn four(first: u32) -> Self {
        Self { bytes: u32::from_le(first) as u64, length: 4 }
    }

    #[inline(always)]
    pub const fn eight(first: u32, second: u32) -> Self {
        Self { bytes: u32::from_le(first) as u64 | (u32::from_le(second) as u64) << 32, length: 8 }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "one byte is asked for")]
    const fn byte(self, at: u32) -> u8 {
        (self.bytes >> (8 * at)) as u8
    }
}

/// Whether a datagram is an answer by its first bytes, given its ports.
#[inline(always)]
pub const fn is_one(source: u16, destination: u16, head: Head) -> bool {
    if head.length == 0 {
        return false;
    }
    if head.length == 8 {
        // SSDP answers come from any port (UPnP Device Architecture 1.3.3).
        if head.bytes == u64::from_le_bytes(*b"HTTP/1.1") || head.bytes == u64::from_le_bytes(*b"NOTIFY *") {
            return true;
        }
        // A frame: number of the request, of the datagram, of all of them, and two bytes of zero (memcached, doc/protocol.txt).
        if source == MEMCACHED && head.bytes >> 48 == 0 && head.bytes >> 32 != 0 {
            return true;
        }
    }
    if is_either(source, destination, DNS) || is_either(source, destination, MULTICAST_DNS) {
        // QR: an answer (RFC 1035 4.1.1).
        return head.byte(2) & 0x80 != 0;
    }
    if is_either(source, destination, NTP) {
        // Modes 6 and 7 are for control, and what is amplified; from a server's port also its answers (RFC 5905 7.3).
        let mode = head.byte(0) & 7;
        return mode >= 6 || source == NTP && destination != NTP && mode == 4;
    }
    // A sequence of ASN.1: all that these two protocols send begins with one.
    (source == CLDAP || source == SNMP) && head.byte(0) == 0x30
}

const DNS: u16 = 53;
const MULTICAST_DNS: u16 = 5353;
const NTP: u16 = 123;
const SNMP: u16 = 161;
const CLDAP: u16 = 389;
const MEMCACHED: u16 = 11211;

#[inline(always)]
const fn is_either(source: u16, destination: u16, port: u16) -> bool {
    source == port || destination == port
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(bytes: &[u8]) -> Head {
        let (words, _) = bytes.as_chunks::<4>();
        match *words {
            [first, second, ..] => Head::eight(u32::from_ne_bytes(first), u32::from_ne_bytes(second)),
            [first] => Head::four(u32::from_ne_bytes(first)),
            [] => Head::NONE,
        }
    }

    fn is_answer(source: u16, destination: u16, bytes: &[u8]) -> bool {
        is_one(source, destination, head(bytes))
    }

    /// An application's port, and a client's.
    const APP: u16 = 7777;
    const CLIENT: u16 = 50_000;

    #[test]
    fn what_reflectors_send() {
        let dns = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 40];
        assert!(is_answer(53, APP, &dns));
        assert!(is_answer(CLIENT, 53, &dns), "to a name server too");
        assert!(is_answer(5353, APP, &dns));
        assert!(is_answer(123, APP, &[0xd7, 0, 3, 0x2a, 0, 6, 0, 0x48]), "NTP monlist");
        assert!(is_answer(123, APP, &[0x24, 1, 0, 0xe9, 0, 0, 0, 0]), "NTP, a server's");
        assert!(is_answer(CLIENT, 123, &[0x17, 0, 3, 0x2a, 0, 0, 0, 0]), "whoever wants to amplify by this server");
        assert!(is_answer(CLIENT, APP, b"HTTP/1.1 200 OK\r\n"));
        assert!(is_answer(1900, APP, b"NOTIFY * HTTP/1.1\r\n"));
        assert!(is_answer(11211, APP, &[0, 1, 0, 0, 0, 9, 0, 0]));
        assert!(is_answer(389, APP, &[0x30, 0x84, 0, 0]));
        assert!(is_answer(161, APP, &[0x30, 0x82, 4, 0]));
    }

    #[test]
    fn what_clients_send() {
        let question = [0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0];
        assert!(!is_answer(CLIENT, 53, &question));
        assert!(!is_answer(53, 53, &question));
        assert!(!is_answer(CLIENT, 123, &[0x23, 0, 6, 0xec, 0, 0, 0, 0]));
        assert!(!is_answer(123, 123, &[0x1c, 1, 0, 0xe9, 0, 0, 0, 0]), "NTP servers among themselves");
        assert!(!is_answer(CLIENT, 1900, b"M-SEARCH * HTTP/1.1\r\n"));
        assert!(!is_answer(CLIENT, 11211, &[0, 1, 0, 0, 0, 1, 0, 0]));
        assert!(!is_answer(CLIENT, 389, &[0x30, 0x84, 0, 0]));
        // QUIC, an RTP packet, a game's.
        assert!(!is_answer(CLIENT, 443, &[0xc3, 0, 0, 0, 1, 8, 1, 2]));
        assert!(!is_answer(CLIENT, APP, &[0x80, 0x60, 0, 1, 0, 0, 0, 0]));
        assert!(!is_answer(CLIENT, APP, &[0xff, 0xff, 0xff, 0xff, b'T', b'S', b'o', b'u']));
    }

    #[test]
    fn ports_that_clients_ask_from_are_no_reflectors() {
        assert_eq!((0..=u16::MAX).filter(|port| is_reflector(*port)).count(), 69);
        // What systems choose from by themselves (RFC 6335 6; Linux from 32768 on), but for two.
        assert_eq!((32_768..=u16::MAX).filter(|port| is_reflector(*port)).collect::<Vec<_>>(), [37_810]);
        assert!(![0, 80, 443, 500, 3478, 4500, 1194, 51_820].into_iter().any(is_reflector));
    }

    proptest! {
        #[test]
        fn what_is_too_short_to_tell_is_no_answer(source: u16, destination: u16, bytes in prop::collection::vec(any::<u8>(), 0..4)) {
            prop_assert!(!is_answer(source, destination, &bytes));
        }

        /// Between ports that speak none of these protocols nothing but SSDP's two words is an answer.
        #[test]
        fn other_ports_may_say_what_they_like(source in 40_000_u16.., bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            prop_assume!(!bytes.starts_with(b"HTTP/1.1") && !bytes.starts_with(b"NOTIFY *"));
            prop_assert!(!is_answer(source, APP, &bytes));
        }
    }
}
