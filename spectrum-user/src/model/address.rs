//! Addresses that nobody is reached at.

use std::net::IpAddr;

/// What makes an address no end of a connection, if anything.
pub fn no_host(address: IpAddr) -> Option<&'static str> {
    match address {
        address if address.is_unspecified() => Some("the unspecified address"),
        address if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an address of \"this network\" (0.0.0.0/8)"),
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => Some("a reserved address (240.0.0.0/4)"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address, which needs an interface"),
        _ => None,
    }
}
