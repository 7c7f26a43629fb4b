//! The origin behind every contestant: it sends, swallows or echoes, with as little work as possible, so that it is
//! never what a figure shows.
//!
//! Bulk services take a thread per connection with large blocking calls; the echo service takes one epoll thread per
//! core with a listener of its own. Its threads live as long as the process.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};

use crate::world::{ORIGIN_V4, ORIGIN_V6, World};

/// Bytes of one bulk read or write: large enough that system calls do not matter.
pub(crate) const BULK: usize = 256 * 1024;
/// Threads of the echo service.
const ECHO_THREADS: usize = 2;
/// A bulk connection that moves nothing for this long is given up.
const STALL: Duration = Duration::from_secs(10);

/// What the origin does with a connection; each is a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Sends until the peer goes away.
    Source = 9001,
    /// Reads until the end.
    Sink = 9002,
    /// Sends back what it reads.
    Echo = 9003,
}

impl Service {
    pub(crate) const ALL: [Self; 3] = [Self::Source, Self::Sink, Self::Echo];

    pub(crate) const fn port(self) -> u16 {
        self as u16
    }
}

/// Handle to the origin's threads.
pub(crate) struct Origin {
    swallowed: Arc<AtomicU64>,
}

impl Origin {
    /// Starts all services; they listen when this returns.
    pub(crate) fn start(world: &World) -> Result<Self> {
        let swallowed = Arc::new(AtomicU64::new(0));
        for address in [ORIGIN_V4, ORIGIN_V6] {
            let at = |service: Service| SocketAddr::new(address, service.port());
            let (source, sink, echoes) = world.origin.run(|| {
                let echoes = (0..ECHO_THREADS).map(|_| listen(at(Service::Echo))).collect::<Result<Vec<_>>>()?;
                Ok((listen(at(Service::Source))?, listen(at(Service::Sink))?, echoes))
            })?;
            let counter = Arc::clone(&swallowed);
            thread::spawn(move || for_each(&source, send_forever));
            thread::spawn(move || {
                for_each(&sink, move |stream| {
                    let counter = Arc::clone(&counter);
                    swallow(stream, &counter);
                });
            });
            for listener in echoes {
                thread::spawn(move || {
                    // An epoll call that fails on valid descriptors is a bug: every measure after it would fail loudly.
                    if let Err(error) = echo(&listener) {
                        eprintln!("the origin's echo service ended: {error}");
                    }
                });
            }
        }
        Ok(Self { swallowed })
    }

    /// Bytes the sink has read since the start.
    pub(crate) fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Relaxed)
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into()).with_context(|| format!("bind the origin to {address}"))?;
    socket.listen(16384)?;
    Ok(socket.into())
}

/// Runs `serve` on a thread of its own for every connection.
fn for_each(listener: &TcpListener, serve: impl Fn(TcpStream) + Clone + Send + 'static) {
    while let Ok((stream, _)) = listener.accept() {
        let serve = serve.clone();
        thread::spawn(move || serve(stream));
    }
}

fn send_forever(mut stream: TcpStream) {
    if stream.set_write_timeout(Some(STALL)).is_ok() {
        let zeros = vec![0; BULK];
        while stream.write_all(&zeros).is_ok() {}
    }
}

fn swallow(mut stream: TcpStream, counter: &AtomicU64) {
    if stream.set_read_timeout(Some(STALL)).is_ok() {
        let mut buffer = vec![0; BULK];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            counter.fetch_add(read as u64, Ordering::Relaxed);
        }
    }
}

/// Serves every connection of `listener` from this one thread.
fn echo(listener: &TcpListener) -> Result<()> {
    const LISTENER: u64 = u64::MAX;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            answer => answer?,
        };
        for event in events.iter().take(count) {
            if event.data() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let key = u64::try_from(stream.as_raw_fd())?;
                    epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
                    connections.insert(key, stream);
                }
            } else if connections.get_mut(&event.data()).is_some_and(|stream| !answer(stream, &mut buffer)) {
                connections.remove(&event.data());
            }
        }
    }
}

/// Echoes what is there to read; false when the connection is over. A peer that does not read its few bytes back is
/// dropped: there is no buffer for it, so none can grow.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        Ok(read) => buffer.get(..read).is_some_and(|bytes| stream.write_all(bytes).is_ok()),
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}
