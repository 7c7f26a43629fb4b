//! What an application listens for: a transport and its edge ports, as the product writes them.

use std::{fmt, str::FromStr};

use spectrum_common::layout::{PROTOCOL_TCP, PROTOCOL_UDP};

use super::{InvalidPortRange, PortRange};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `tcp/22`, `tcp/1000-2000`, or one of the product's names such as `ssh`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol {
    pub transport: Transport,
    pub ports: PortRange,
    /// As it was given: echoed, never compared.
    written: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProtocol {
    #[error("`{0}` is not a protocol: write tcp/22, tcp/1000-2000, udp/53, or one of ssh, rdp, minecraft")]
    Shape(String),
    #[error("the transport `{0}` is neither tcp nor udp")]
    Transport(String),
    #[error("`{0}` is not a port")]
    Port(String),
    #[error(transparent)]
    Range(#[from] InvalidPortRange),
}

/// The names of the product's `protocols` endpoint.
const NAMES: [(&str, Transport, u16); 3] =
    [("ssh", Transport::Tcp, 22), ("rdp", Transport::Tcp, 3389), ("minecraft", Transport::Tcp, 25565)];

impl Protocol {
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromStr for Protocol {
    type Err = InvalidProtocol;

    fn from_str(s: &str) -> Result<Self, InvalidProtocol> {
        let written = s.to_owned();
        if let Some((_, transport, port)) = NAMES.into_iter().find(|(name, ..)| *name == s) {
            return Ok(Self { transport, ports: PortRange::single(port)?, written });
        }
        let (transport, ports) = s.split_once('/').ok_or_else(|| InvalidProtocol::Shape(s.to_owned()))?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            other => return Err(InvalidProtocol::Transport(other.to_owned())),
        };
        Ok(Self { transport, ports: parse_ports(ports)?, written })
    }
}

/// `22` or `1000-2000`.
pub(super) fn parse_ports(s: &str) -> Result<PortRange, InvalidProtocol> {
    let (first, last) = s.split_once('-').unwrap_or((s, s));
    Ok(PortRange::new(parse_port(first)?, parse_port(last)?)?)
}

fn parse_port(s: &str) -> Result<u16, InvalidProtocol> {
    // `u16::from_str` takes a leading plus sign.
    if !s.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidProtocol::Port(s.to_owned()));
    }
    s.parse().map_err(|_| InvalidProtocol::Port(s.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports_ranges_and_names() {
        for (s, transport, first, last) in [
            ("tcp/22", Transport::Tcp, 22, 22),
            ("udp/53", Transport::Udp, 53, 53),
            ("tcp/1-65535", Transport::Tcp, 1, 65535),
            ("ssh", Transport::Tcp, 22, 22),
            ("minecraft", Transport::Tcp, 25565, 25565),
        ] {
            let protocol: Protocol = s.parse().unwrap();
            assert_eq!((protocol.transport, protocol.ports), (transport, PortRange::new(first, last).unwrap()), "{s}");
            assert_eq!(protocol.as_str(), s, "echoed as sent");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for s in
            ["", "tcp", "tcp/", "tcp/0", "tcp/65536", "tcp/+22", "tcp/2-1", "tcp/1-2-3", "sctp/1", "TCP/22", "tcp/22 "]
        {
            assert!(s.parse::<Protocol>().is_err(), "{s}");
        }
    }
}
