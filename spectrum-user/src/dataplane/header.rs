//! What the headers of a sampled packet say beyond what the kernel program tells of it.

use super::events::Sample;

/// Each is there as far as it was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Of the IP packet, as it says itself: without the frame around it, and without padding.
    pub ip_length: Option<u16>,
    /// IPv4's time to live, IPv6's hop limit.
    pub ttl: Option<u8>,
    pub tcp_window: Option<u16>,
    /// Bytes of TCP options.
    pub tcp_options: Option<u8>,
}

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
const TCP: u8 = 6;

impl Sample {
    pub fn header(&self) -> Header {
        let bytes = self.packet.bytes();
        let mut header = network(bytes);
        let transport = usize::try_from(self.transport).unwrap_or_default();
        if self.protocol == TCP && self.tcp_flags.is_some() && transport >= ETHERNET {
            header.tcp_window = number(bytes, transport + 14);
            let words = bytes.get(transport + 12).map(|byte| byte >> 4);
            header.tcp_options = words.and_then(|words| words.checked_sub(5)).map(|words| words * 4);
        }
        header
    }
}

fn network(bytes: &[u8]) -> Header {
    let mut at = ETHERNET;
    // As many tags as the kernel program follows.
    for _ in 0..2 {
        if TAGS.into_iter().any(|tag| ether_type(bytes, at) == Some(tag)) {
            at += VLAN_TAG;
        }
    }
    match ether_type(bytes, at) {
        Some(IPV4) => Header { ip_length: number(bytes, at + 2), ttl: bytes.get(at + 8).copied(), ..Header::default() },
        Some(IPV6) => Header {
            ip_length: number(bytes, at + 4).map(|payload| payload.saturating_add(40)),
            ttl: bytes.get(at + 7).copied(),
            ..Header::default()
        },
        _ => Header::default(),
    }
}

/// What stands in front of the header that begins here.
fn ether_type(bytes: &[u8], at: usize) -> Option<[u8; 2]> {
    bytes.get(at - 2..at)?.try_into().ok()
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataplane::events::Captured;

    /// A SYN behind this many VLAN tags, with ttl 57, window 512 and four bytes of options.
    fn syn(tags: usize, v6: bool) -> Sample {
        let mut frame = vec![0; 12];
        (0..tags).for_each(|_| frame.extend([0x81, 0x00, 0, 7]));
        if v6 {
            frame.extend(IPV6);
            frame.extend([0x60, 0, 0, 0, 0, 24, 6, 57]);
            frame.extend([0; 32]);
        } else {
            frame.extend(IPV4);
            frame.extend([0x45, 0, 0, 44, 0, 0, 0, 0, 57, 6]);
            frame.extend([0; 10]);
        }
        let transport = u32::try_from(frame.len()).unwrap();
        frame.extend([0, 53, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 0x60, 2, 2, 0, 0, 0, 0, 0, 2, 4, 5, 180]);
        Sample { transport, packet: Captured::testing(&frame), ..Sample::testing() }
    }

    #[test]
    fn hops_lengths_windows_and_options_are_read_behind_tags_in_both_families() {
        for (tags, v6) in [(0, false), (1, false), (2, true), (0, true)] {
            let expected = Header {
                ip_length: Some(if v6 { 64 } else { 44 }),
                ttl: Some(57),
                tcp_window: Some(512),
                tcp_options: Some(4),
            };
            assert_eq!(syn(tags, v6).header(), expected, "{tags} tags");
        }
        assert_eq!(Sample::testing().header(), Header::default(), "nothing was captured");
        assert_eq!(Sample { protocol: 17, tcp_flags: None, ..syn(0, false) }.header().tcp_window, None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..128), transport: u32, flags: u8) {
            let packet = Captured::testing(&bytes);
            let _ = Sample { transport, packet, tcp_flags: Some(flags), ..Sample::testing() }.header();
        }
    }
}
