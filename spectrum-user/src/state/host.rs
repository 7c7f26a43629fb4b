//! The addresses of this host's interfaces.

use std::{io, net::IpAddr};

use nix::ifaddrs::getifaddrs;

/// Those of the network namespace that the calling thread is in, canonical, sorted.
pub fn host_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = getifaddrs()?
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .map(|address| address.to_canonical())
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}
