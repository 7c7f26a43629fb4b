//! Built-in servers: small enough to be beyond doubt, and able to hold thousands of connections.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
};

use super::{edge::at, namespace::Namespace};
use crate::wait::DEADLINE;

/// A running server. Dropping it closes everything that it has open.
pub struct Server {
    addresses: (IpAddr, IpAddr),
    ports: Vec<u16>,
    accepted: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Sends back whatever comes, and half-closes when the other side has. Port 0 is any.
    pub fn echo(namespace: &Namespace, addresses: (IpAddr, IpAddr), ports: &[u16]) -> Self {
        Self::start(namespace, addresses, ports, false)
    }

    /// As [`Self::echo`], and every connection begins with a line that names the port it was reached on.
    pub fn named(namespace: &Namespace, addresses: (IpAddr, IpAddr), ports: &[u16]) -> Self {
        Self::start(namespace, addresses, ports, true)
    }

    fn start(namespace: &Namespace, addresses: (IpAddr, IpAddr), ports: &[u16], named: bool) -> Self {
        let wanted = ports.to_vec();
        let listeners = namespace.run(move || wanted.into_iter().map(bind).collect::<Vec<_>>());
        let ports = listeners.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect();
        let (stop, stopped) = oneshot::channel::<()>();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime");
            runtime.block_on(async {
                for listener in listeners {
                    tokio::spawn(accept(listener, named, Arc::clone(&count)));
                }
                drop(stopped.await);
            });
        });
        Self { addresses, ports, accepted, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens; the first of its ports.
    pub fn addr(&self) -> SocketAddr {
        at(self.addresses.0, self.ports[0])
    }

    pub fn addr_v6(&self) -> SocketAddr {
        at(self.addresses.1, self.ports[0])
    }

    /// Connections that it accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn accept(listener: TcpListener, named: bool, count: Arc<AtomicUsize>) {
    listener.set_nonblocking(true).expect("set non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener).expect("register a listener");
    while let Ok((stream, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(echo(stream, named));
    }
}

/// Errors end the connection: they are what the test then sees.
async fn echo(mut stream: tokio::net::TcpStream, named: bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    if named {
        let line = format!("{}\n", stream.local_addr()?.port());
        stream.write_all(line.as_bytes()).await?;
    }
    loop {
        // An idle connection holds no buffer: tests keep thousands open.
        stream.readable().await?;
        let mut buffer = Vec::with_capacity(64 * 1024);
        if stream.read_buf(&mut buffer).await? == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer).await?;
    }
}

/// Both families on one socket, with room for many at once. Who accepts from it, or reads from what was accepted, waits
/// until the deadline and not for ever: accepted sockets inherit it (`sk_clone`, net/core/sock.c).
pub(super) fn bind(port: u16) -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("open a socket");
    socket.set_only_v6(false).expect("serve both families");
    socket.set_reuse_address(true).expect("reuse the port");
    socket.set_read_timeout(Some(DEADLINE)).expect("set a timeout");
    let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    socket.bind(&address.into()).unwrap_or_else(|error| panic!("bind port {port}: {error}"));
    socket.listen(4096).expect("listen");
    socket.into()
}
