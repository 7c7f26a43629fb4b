//! Where an application's connections go.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use super::{PortRange, Transport, protocol::parse_ports};

/// `tcp://192.0.2.1:22`, `tcp://[2001:db8::1]:3000-4000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirectOrigin {
    pub transport: Transport,
    pub address: IpAddr,
    pub ports: PortRange,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    #[error("`{0}` is not an origin: write tcp://192.0.2.1:22 or tcp://[2001:db8::1]:22")]
    Shape(String),
    #[error("`{0}` is not an IP address; an IPv6 one stands in brackets")]
    Address(String),
    #[error("`{0}` is not a port or a range of ports from 1 to 65535")]
    Ports(String),
}

impl FromStr for DirectOrigin {
    type Err = InvalidOrigin;

    fn from_str(s: &str) -> Result<Self, InvalidOrigin> {
        let shape = || InvalidOrigin::Shape(s.to_owned());
        let (transport, rest) = match s.split_once("://").ok_or_else(shape)? {
            ("tcp", rest) => (Transport::Tcp, rest),
            ("udp", rest) => (Transport::Udp, rest),
            _ => return Err(shape()),
        };
        let (address, ports) = rest.rsplit_once(':').ok_or_else(shape)?;
        Ok(Self {
            transport,
            address: parse_address(address)?,
            ports: parse_ports(ports).map_err(|_| InvalidOrigin::Ports(ports.to_owned()))?,
        })
    }
}

impl fmt::Display for DirectOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(v4) => write!(f, "{}://{v4}:{}", self.transport, self.ports),
            IpAddr::V6(v6) => write!(f, "{}://[{v6}]:{}", self.transport, self.ports),
        }
    }
}

fn parse_address(s: &str) -> Result<IpAddr, InvalidOrigin> {
    let invalid = |_| InvalidOrigin::Address(s.to_owned());
    if let Some(v6) = s.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(invalid);
    }
    s.parse().map(IpAddr::V4).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_it_reads() {
        for s in ["tcp://192.0.2.1:22", "tcp://192.0.2.1:3000-4000", "tcp://[2001:db8::1]:443", "udp://192.0.2.1:53"] {
            assert_eq!(s.parse::<DirectOrigin>().unwrap().to_string(), s);
        }
    }

    #[test]
    fn refuses_names_bare_ipv6_and_missing_ports() {
        for s in [
            "tcp://origin.example.com:22",
            "tcp://2001:db8::1:22",
            "tcp://192.0.2.1",
            "192.0.2.1:22",
            "tcp://192.0.2.1:0",
            "tcp://[::1]",
        ] {
            assert!(s.parse::<DirectOrigin>().is_err(), "{s}");
        }
    }
}
