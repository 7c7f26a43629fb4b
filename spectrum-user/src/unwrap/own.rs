//! Whose an address is, as this host's routes have it.
//!
//! Not by whether a socket can be bound to it: with `ip_nonlocal_bind` it can to every one, and the broadcast addresses of
//! networks are on no interface.

use std::{io, net::IpAddr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{RouteMessage, RouteType},
};
use tokio::task::JoinHandle;

/// Asks the kernel.
#[derive(Debug)]
pub(super) struct Routes {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Routes {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Whether a packet to this address would go to one other host: it is neither this host's, nor that of many.
    pub(super) async fn lead_to_one_elsewhere(&self, address: IpAddr) -> io::Result<bool> {
        let answers = self.handle.route().get(question(address)?).execute();
        match answers.try_collect::<Vec<_>>().await {
            Ok(routes) => Ok(routes.iter().all(|route| is_elsewhere(route.header.kind))),
            // No route at all, or one that says so: it is nowhere, which is not here.
            Err(rtnetlink::Error::NetlinkError(message)) if is_nowhere(-message.raw_code()) => Ok(true),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// `ip route get ADDRESS`. Without a source, so that no rule of the way answers.
fn question(address: IpAddr) -> io::Result<RouteMessage> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let question =
        RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, length).map_err(io::Error::other)?;
    Ok(question.build())
}

fn is_elsewhere(kind: RouteType) -> bool {
    !matches!(kind, RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast)
}

/// What routes of type unreachable, prohibit, blackhole and throw answer (`fib_props`, `net/ipv4/fib_semantics.c`).
const fn is_nowhere(errno: i32) -> bool {
    matches!(errno, libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::EAGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_and_addresses_of_many_are_not_elsewhere() {
        let routes = Routes::open().unwrap();
        for (address, elsewhere) in [("127.0.0.1", false), ("127.255.255.255", false), ("192.0.2.1", true)] {
            assert_eq!(routes.lead_to_one_elsewhere(address.parse().unwrap()).await.unwrap(), elsewhere, "{address}");
        }
    }
}
