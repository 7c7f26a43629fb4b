//! One connection: whose it is, the service in the client's name, relay.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{SockRef, Socket};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    Settings, Tally,
    own::Routes,
    read::{Unread, read},
};
use crate::{
    listen::{Admission, Arrival, guard, origin_socket, origin_socket_as, origin_socket_as_host},
    model::Timeouts,
    proxy::{
        Broken, ClientAddr, Leg, Relay,
        header::{Header, Meaning},
        send_whole,
    },
};

/// The service is on this host: it answers at once, or its queue is full.
const CONNECT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Server {
    settings: Settings,
    relay: Relay,
    routes: Routes,
    pub(super) tally: Tally,
}

/// Why a connection did not end by itself.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("its sender is not one of --from")]
    Stranger,
    #[error("its header was not there in time")]
    Late,
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error("its header names {0}, which is no address of a client")]
    NoClient(IpAddr),
    #[error("its header names {0}, which is this host's own or that of many")]
    Own(IpAddr),
    #[error("cannot ask the kernel whose {0} is")]
    Unasked(IpAddr, #[source] io::Error),
    #[error("its header is one of datagrams")]
    Datagrams,
    #[error("there is no service for clients of the family of {0}")]
    NoService(IpAddr),
    #[error("cannot connect to the service at {0}")]
    Connect(SocketAddr, #[source] io::Error),
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl Server {
    pub(super) fn new(settings: Settings, pipes: Admission) -> io::Result<Self> {
        Ok(Self { settings, relay: Relay::new(pipes), routes: Routes::open()?, tally: Tally::default() })
    }

    /// Until the connection has ended. Both legs are closed then, and the place is free.
    pub(super) async fn serve(&self, arrival: Arrival) {
        let Arrival { stream, client: sender, permit } = arrival;
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                if let Err(failure) = self.run(Leg::new(stream), sender).await {
                    self.tell(sender, &failure);
                }
            }
            Err(error) => log::warn!("a connection is dropped, epoll does not take it: {error}"),
        }
        drop(permit);
    }

    async fn run(&self, mut sender: Leg, address: SocketAddr) -> Result<(), Failure> {
        if !self.believes(address.ip()) {
            return Err(Failure::Stranger);
        }
        let header = timeout(self.settings.header_timeout, read(sender.stream_mut()));
        let (header, first) = header.await.map_err(|_| Failure::Late)??;
        let origin = Leg::new(self.connect(&header, ClientAddr::new(address)).await?);
        if let Err(error) = guard(&SockRef::from(&*origin), &Timeouts::default()) {
            log::warn!("a service that falls silent will not be noticed: {error}");
        }
        if !first.is_empty() {
            send_whole(&origin, &first).map_err(Broken::Origin)?;
        }
        self.relay.between(&sender, &origin).await?;
        sender.close();
        origin.close();
        Ok(())
    }

    fn believes(&self, sender: IpAddr) -> bool {
        let sender = sender.to_canonical();
        self.settings.from.iter().any(|network| network.contains(&sender))
    }

    /// Connects to the service in the name of whom the header names. Where it names nobody that is the sender, as the
    /// specification has it (section 2: "the real connection endpoints"), and never this host, which services trust.
    async fn connect(&self, header: &Header, sender: ClientAddr) -> Result<TcpStream, Failure> {
        let client = match header.meaning {
            Meaning::Local | Meaning::Unknown => sender,
            Meaning::Datagram(_) => return Err(Failure::Datagrams),
            Meaning::Stream(addresses) => self.client(addresses.client()).await?,
        };
        let service = self.settings.to.of_family(client.ip()).ok_or(Failure::NoService(client.ip()))?;
        let connected = if client.ip().is_loopback() {
            // A sender on this host that speaks for itself.
            dial(service, || origin_socket(service)).await
        } else {
            dial_as(client, service).await
        };
        connected.map_err(|error| Failure::Connect(service, error))
    }

    /// An address that a connection over the network can come from.
    async fn client(&self, client: ClientAddr) -> Result<ClientAddr, Failure> {
        let address = client.ip();
        if !is_client(address) {
            return Err(Failure::NoClient(address));
        }
        match self.routes.lead_to_one_elsewhere(address).await {
            Ok(true) => Ok(client),
            Ok(false) => Err(Failure::Own(address)),
            Err(error) => Err(Failure::Unasked(address, error)),
        }
    }

    fn tell(&self, sender: SocketAddr, failure: &Failure) {
        let cause = std::error::Error::source(failure).map(|cause| format!(": {cause}")).unwrap_or_default();
        log::debug!("{sender}: {failure}{cause}");
        match failure {
            Failure::Stranger => self.tally.turned_away("its sender is not one of --from"),
            Failure::Late => self.tally.turned_away("its header was not there in time (--header-timeout)"),
            Failure::Unread(_) => self.tally.turned_away("it sent no PROXY header that could be read"),
            Failure::NoClient(_) => self.tally.turned_away("its header names no address that a client can have"),
            Failure::Own(_) => {
                self.tally
                    .turned_away("its header names an address of this host or of many; services trust their own host");
            }
            Failure::Unasked(..) => self.tally.turned_away("the kernel does not say whose its client's address is"),
            Failure::Datagrams => self.tally.turned_away("its header is one of datagrams, on a connection"),
            Failure::NoService(_) => {
                self.tally.turned_away("its client is of the other family; add --to 127.0.0.1:PORT or --to [::1]:PORT");
            }
            Failure::Connect(_, error) if error.kind() == io::ErrorKind::TimedOut => {
                self.tally.turned_away("the service does not answer: its queue is full, or its answers go elsewhere");
            }
            Failure::Connect(..) => self.tally.turned_away("the service does not accept"),
            Failure::Broken(_) => {}
        }
    }
}

/// Connects in the client's name: from its own port where that is free here, else from any.
async fn dial_as(client: ClientAddr, service: SocketAddr) -> io::Result<TcpStream> {
    match dial(service, || origin_socket_as(client.socket_addr(), service)).await {
        // The same ends were connected a moment ago: this host still remembers (`__inet_check_established`).
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            dial(service, || origin_socket_as_host(client.ip(), service)).await
        }
        dialled => dialled,
    }
}

async fn dial(service: SocketAddr, socket: impl FnOnce() -> io::Result<Socket>) -> io::Result<TcpStream> {
    timeout(CONNECT, TcpSocket::from_std_stream(socket()?.into()).connect(service))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether a connection can be somebody's in particular, elsewhere. A link-local address says nothing without its interface,
/// which a header has no room for.
fn is_client(address: IpAddr) -> bool {
    let of_a_link_or_all = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || of_a_link_or_all)
}
