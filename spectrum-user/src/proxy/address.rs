//! Who is who: a bare socket address does not say whose it is.

use std::{fmt, net::SocketAddr};

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(SocketAddr);

        impl $name {
            /// Canonical: an IPv4-mapped address becomes the IPv4 address that it is.
            pub fn new(address: SocketAddr) -> Self {
                Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
            }

            pub const fn socket_addr(self) -> SocketAddr {
                self.0
            }

            pub const fn ip(self) -> std::net::IpAddr {
                self.0.ip()
            }

            pub const fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

role! {
    /// Who connected.
    ClientAddr
}
role! {
    /// What the client connected to: an address and port of ours.
    EdgeAddr
}
role! {
    /// Where we dial.
    OriginAddr
}
