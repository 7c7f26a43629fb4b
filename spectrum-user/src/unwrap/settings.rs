//! What `spectrum unwrap` was told.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    time::Duration,
};

use ipnet::IpNet;

#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    pub to: Services,
    /// Whose headers are believed. Everybody else is reset.
    pub from: Vec<IpNet>,
    /// How long a sender may take for its header.
    pub header_timeout: Duration,
    /// How long open connections may go on after SIGTERM.
    pub drain: Duration,
    /// At once; none: as many as the descriptors allow.
    pub connections: Option<NonZeroUsize>,
}

/// Where a service listens on loopback: for IPv4 clients, for IPv6 clients, or for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    first: SocketAddr,
    second: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServices {
    #[error(
        "--to {0} is not on loopback: answers to clients find their way back by their source, and only loopback's is nobody else's; write 127.0.0.1:PORT or [::1]:PORT"
    )]
    NotLoopback(SocketAddr),
    #[error("--to names no service: write --to 127.0.0.1:PORT, and --to [::1]:PORT for IPv6 clients")]
    None,
    #[error("--to names two services of one family: IPv4 clients need one of IPv4, IPv6 clients one of IPv6")]
    OneFamily,
    #[error("--to {0} is what --listen listens on: it would connect to itself")]
    Itself(SocketAddr),
}

impl Services {
    pub fn new(listen: SocketAddr, to: &[SocketAddr]) -> Result<Self, InvalidServices> {
        for service in to {
            // An IPv4-mapped address would be an IPv4 service behind an IPv6 socket.
            if !service.ip().is_loopback() {
                return Err(InvalidServices::NotLoopback(*service));
            }
            let same_ip = listen.ip().is_unspecified() || listen.ip().to_canonical() == service.ip();
            if same_ip && listen.port() == service.port() {
                return Err(InvalidServices::Itself(*service));
            }
        }
        match *to {
            [] => Err(InvalidServices::None),
            [first] => Ok(Self { first, second: None }),
            [first, second] if first.is_ipv4() != second.is_ipv4() => Ok(Self { first, second: Some(second) }),
            _ => Err(InvalidServices::OneFamily),
        }
    }

    /// The one that a client of this address can be connected to.
    pub(super) fn of_family(&self, client: IpAddr) -> Option<SocketAddr> {
        self.iter().find(|service| service.is_ipv4() == client.is_ipv4())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        [Some(self.first), self.second].into_iter().flatten()
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.second.iter().try_for_each(|second| write!(f, ", {second}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(listen: &str, to: &[&str]) -> Result<Services, InvalidServices> {
        let to: Vec<_> = to.iter().map(|address| address.parse().unwrap()).collect();
        Services::new(listen.parse().unwrap(), &to)
    }

    #[test]
    fn a_client_gets_the_service_of_its_family() {
        let both = services("0.0.0.0:2222", &["[::1]:22", "127.0.0.1:22"]).unwrap();
        let of = |client: &str| both.of_family(client.parse().unwrap()).map(|service| service.to_string());
        assert_eq!(of("192.0.2.1").as_deref(), Some("127.0.0.1:22"));
        assert_eq!(of("2001:db8::1").as_deref(), Some("[::1]:22"));
        let one = services("0.0.0.0:2222", &["127.0.0.2:22"]).unwrap();
        assert_eq!(one.of_family("2001:db8::1".parse().unwrap()), None);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        use InvalidServices::{Itself, None, NotLoopback, OneFamily};
        let at = |address: &str| address.parse().unwrap();
        assert_eq!(services("0.0.0.0:2222", &[]), Err(None));
        assert_eq!(services("0.0.0.0:2222", &["192.0.2.1:22"]), Err(NotLoopback(at("192.0.2.1:22"))));
        assert_eq!(services("0.0.0.0:2222", &["[::ffff:127.0.0.1]:22"]), Err(NotLoopback(at("[::ffff:127.0.0.1]:22"))));
        assert_eq!(services("0.0.0.0:2222", &["127.0.0.1:22", "127.0.0.1:23"]), Err(OneFamily));
        assert_eq!(services("0.0.0.0:2222", &["127.0.0.1:22", "[::1]:22", "[::1]:23"]), Err(OneFamily));
        for listen in ["0.0.0.0:22", "[::]:22", "127.0.0.1:22"] {
            assert_eq!(services(listen, &["127.0.0.1:22"]), Err(Itself(at("127.0.0.1:22"))), "{listen}");
        }
    }
}
