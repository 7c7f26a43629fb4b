//! Frames, byte by byte. The default is the ordinary TCP SYN, so that a test says only what is odd about its frame.
//!
//! Checksums and lengths are right unless the frame is cut: what is wrong is wrong on purpose.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;

/// TCP flags.
pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const RST: u8 = 0x04;
pub const FIN: u8 = 0x01;

pub const ETHER_IPV4: u16 = 0x0800;
pub const ETHER_IPV6: u16 = 0x86dd;
pub const ETHER_ARP: u16 = 0x0806;
pub const ETHER_VLAN: u16 = 0x8100;
pub const ETHER_QINQ: u16 = 0x88a8;

/// Bytes of the headers, as the boundaries that tests cut at.
pub const ETHERNET: usize = 14;
pub const VLAN: usize = 4;
pub const IPV4: usize = 20;
pub const IPV6: usize = 40;
pub const PORTS: usize = 4;

#[derive(Clone, Debug)]
pub struct Frame {
    /// Tags from the outside in, each by its ether type.
    pub vlans: Vec<u16>,
    /// In place of the one that the addresses call for.
    pub ether_type: Option<u16>,
    /// Both of one family.
    pub source: IpAddr,
    pub destination: IpAddr,
    /// In place of the one that the addresses call for.
    pub version: Option<u8>,
    /// In place of the true IPv4 header length, in words of four bytes.
    pub ihl: Option<u8>,
    /// Words of four bytes behind the IPv4 header, 0 to 10.
    pub ipv4_options: usize,
    /// IPv6 extension headers in order.
    pub extensions: Vec<Extension>,
    /// An IPv4 fragment; an IPv6 one has [`Extension::Fragment`].
    pub fragment: Option<Fragment>,
    /// `TCP`, `UDP` or another.
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
    pub tcp_flags: u8,
    pub sequence: u32,
    pub acknowledges: u32,
    /// Behind the TCP header; whole words of four bytes.
    pub tcp_options: Vec<u8>,
    pub payload: Vec<u8>,
    /// Cuts the finished frame to this many bytes.
    pub truncate_at: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// In units of eight bytes.
    pub offset: u16,
    pub more: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    HopByHop,
    Routing,
    /// With this many units of eight bytes behind the first.
    Destination(u8),
    Authentication,
    Mobility,
    Fragment(Fragment),
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            vlans: Vec::new(),
            ether_type: None,
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            destination: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10)),
            version: None,
            ihl: None,
            ipv4_options: 0,
            extensions: Vec::new(),
            fragment: None,
            protocol: TCP,
            source_port: 40_000,
            destination_port: 443,
            tcp_flags: SYN,
            sequence: 1,
            acknowledges: 0,
            tcp_options: Vec::new(),
            payload: Vec::new(),
            truncate_at: None,
        }
    }
}

impl Frame {
    /// The ordinary TCP SYN over IPv4.
    pub fn tcp_syn() -> Self {
        Self::default()
    }

    /// The ordinary TCP SYN over IPv6.
    pub fn tcp_syn_v6() -> Self {
        Self {
            source: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7)),
            destination: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x10)),
            ..Self::default()
        }
    }

    /// Both, for what must hold in either family.
    pub fn both() -> [Self; 2] {
        [Self::tcp_syn(), Self::tcp_syn_v6()]
    }

    /// As given here, from this source.
    #[must_use]
    pub fn from(self, source: &str) -> Self {
        Self { source: source.parse().expect("an address"), ..self }
    }

    /// As given here, to this destination.
    #[must_use]
    pub fn to(self, destination: &str, port: u16) -> Self {
        Self { destination: destination.parse().expect("an address"), destination_port: port, ..self }
    }

    pub fn build(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in &self.vlans {
            bytes.extend(tag.to_be_bytes());
            bytes.extend(100_u16.to_be_bytes());
        }
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend(self.ether_type.unwrap_or(ETHER_IPV4).to_be_bytes());
                self.ipv4(&mut bytes, source, destination);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend(self.ether_type.unwrap_or(ETHER_IPV6).to_be_bytes());
                self.ipv6(&mut bytes, source, destination);
            }
            mixed => panic!("a frame has one family, not {mixed:?}"),
        }
        bytes.truncate(self.truncate_at.unwrap_or(usize::MAX));
        bytes
    }

    fn ipv4(&self, bytes: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr) {
        let words = 5 + self.ipv4_options;
        assert!(words <= 15, "an IPv4 header has at most ten words of options");
        let segment = self.segment(&source.octets(), &destination.octets());
        let fragment = self.fragment.map_or(0, |fragment| fragment.offset | u16::from(fragment.more) << 13);
        let start = bytes.len();
        bytes.push(self.version.unwrap_or(4) << 4 | self.ihl.unwrap_or(small(words)));
        bytes.push(0);
        bytes.extend(be16(words * 4 + segment.len()));
        bytes.extend([0, 1]);
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        // No-operation options: each byte is one.
        bytes.extend(std::iter::repeat_n(1, self.ipv4_options * 4));
        let sum = checksum(&bytes[start..]);
        bytes[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(segment);
    }

    fn ipv6(&self, bytes: &mut Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) {
        let mut extensions = Vec::new();
        for (index, extension) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(index + 1).map_or(self.protocol, |next| next.number());
            extension.write(next, &mut extensions);
        }
        let segment = self.segment(&source.octets(), &destination.octets());
        bytes.extend([self.version.unwrap_or(6) << 4, 0, 0, 0]);
        bytes.extend(be16(extensions.len() + segment.len()));
        bytes.push(self.extensions.first().map_or(self.protocol, |next| next.number()));
        bytes.push(64);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(extensions);
        bytes.extend(segment);
    }

    fn segment(&self, source: &[u8], destination: &[u8]) -> Vec<u8> {
        let later = |fragment: &Fragment| fragment.offset != 0;
        let in_chain = self.extensions.iter().any(|part| matches!(part, Extension::Fragment(part) if later(part)));
        if self.fragment.as_ref().is_some_and(later) || in_chain {
            // The middle of something: no header of its own.
            return self.payload.clone();
        }
        let mut segment = Vec::new();
        let checksum_at = match self.protocol {
            TCP => {
                segment.extend(self.source_port.to_be_bytes());
                segment.extend(self.destination_port.to_be_bytes());
                let words = small(5 + self.tcp_options.len() / 4);
                segment.extend(self.sequence.to_be_bytes());
                segment.extend(self.acknowledges.to_be_bytes());
                segment.extend([words << 4, self.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
                segment.extend(&self.tcp_options);
                16
            }
            UDP => {
                segment.extend(self.source_port.to_be_bytes());
                segment.extend(self.destination_port.to_be_bytes());
                segment.extend(be16(8 + self.payload.len()));
                segment.extend([0, 0]);
                6
            }
            // An echo request of ICMP: as good as any other protocol.
            _ => {
                segment.extend([8, 0, 0, 0, 0, 1, 0, 1]);
                2
            }
        };
        segment.extend(&self.payload);
        let mut sum = Vec::new();
        if matches!(self.protocol, TCP | UDP) {
            sum.extend(source);
            sum.extend(destination);
            sum.extend([0, self.protocol]);
            sum.extend(be16(segment.len()));
        }
        sum.extend(&segment);
        segment[checksum_at..checksum_at + 2].copy_from_slice(&checksum(&sum).to_be_bytes());
        segment
    }
}

impl Extension {
    fn number(self) -> u8 {
        match self {
            Self::HopByHop => 0,
            Self::Routing => 43,
            Self::Fragment(_) => 44,
            Self::Authentication => 51,
            Self::Destination(_) => 60,
            Self::Mobility => 135,
        }
    }

    fn write(self, next: u8, bytes: &mut Vec<u8>) {
        bytes.push(next);
        match self {
            Self::Fragment(Fragment { offset, more }) => {
                bytes.push(0);
                bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
                bytes.extend([0, 0, 0, 1]);
            }
            // Counted in words of four bytes, less two: twelve bytes.
            Self::Authentication => {
                bytes.push(1);
                bytes.extend([0; 10]);
            }
            Self::Destination(units) => {
                bytes.push(units);
                bytes.extend(std::iter::repeat_n(0, 6 + usize::from(units) * 8));
            }
            Self::HopByHop | Self::Routing | Self::Mobility => {
                bytes.push(0);
                bytes.extend([0; 6]);
            }
        }
    }
}

/// The Internet checksum (RFC 1071): zero over what has a right one in it.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).expect("folded twice")
}

fn be16(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a frame is short").to_be_bytes()
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("a header is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_cover_what_they_should() {
        let bytes = Frame { ipv4_options: 3, payload: b"odd".to_vec(), ..Frame::tcp_syn() }.build();
        let (ip, tcp) = bytes[ETHERNET..].split_at(IPV4 + 12);
        assert_eq!(checksum(ip), 0);
        let mut covered = ip[12..20].to_vec();
        covered.extend([0, TCP]);
        covered.extend(be16(tcp.len()));
        covered.extend(tcp);
        assert_eq!(checksum(&covered), 0);
    }

    #[test]
    fn the_default_is_as_long_as_its_headers() {
        assert_eq!(Frame::tcp_syn().build().len(), ETHERNET + IPV4 + 20);
        assert_eq!(Frame::tcp_syn_v6().build().len(), ETHERNET + IPV6 + 20);
    }

    #[test]
    fn headers_chain() {
        let extensions = vec![Extension::HopByHop, Extension::Authentication];
        let bytes = Frame { extensions, ..Frame::tcp_syn_v6() }.build();
        let chain = &bytes[ETHERNET + IPV6..];
        assert_eq!((bytes[ETHERNET + 6], chain[0], chain[8]), (0, 51, TCP));
        assert_eq!(
            chain[8 + 12..8 + 12 + PORTS],
            Frame::tcp_syn_v6().build()[ETHERNET + IPV6..ETHERNET + IPV6 + PORTS]
        );
    }
}
