//! Accepting, also when descriptors run out: then clients are turned away one by one instead of spinning.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpStream},
    task::{Context, Poll, ready},
    time::Duration,
};

use mio::net::TcpListener;
use socket2::SockRef;
use tokio::io::unix::AsyncFd;

use super::{Admission, Permit, sockets::listen};

/// Connections accepted in one go before others get their turn.
const BATCH: u32 = 64;
/// How long to leave the queue alone when there is not even a descriptor to turn a client away with.
const PAUSE: Duration = Duration::from_millis(20);

/// Accepts for one worker.
#[derive(Debug)]
pub struct Acceptor {
    /// One, or several where an earlier process had more workers; the next to be asked is the first.
    ///
    /// Not tokio's listeners: those register what they accept with the runtime of this thread, and another thread may be
    /// the one to serve it.
    listeners: Vec<AsyncFd<TcpListener>>,
    admission: Admission,
    /// Given up for a moment when descriptors run out, so that `accept` has one to work with.
    reserve: Option<File>,
    batch: u32,
}

/// What came out of the accept queue.
#[derive(Debug)]
pub enum Accepted {
    Connection(Arrival),
    /// Reset at once, and why.
    Shed(Shed),
}

/// An accepted connection that no runtime knows yet: any worker may serve it.
#[derive(Debug)]
pub struct Arrival {
    /// Non-blocking.
    pub stream: TcpStream,
    pub client: SocketAddr,
    pub permit: Permit,
}

/// Why a client was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shed {
    /// As many connections are open as the descriptors allow.
    Full,
    /// No descriptor, or no memory for one (EMFILE, ENFILE, ENOBUFS, ENOMEM).
    Exhausted,
}

impl Acceptor {
    /// Must be called on the runtime that will accept.
    pub fn new(listeners: Vec<std::net::TcpListener>, admission: Admission) -> io::Result<Self> {
        let listeners = listeners.into_iter().map(register).collect::<io::Result<_>>()?;
        Ok(Self { listeners, admission, reserve: reserve(), batch: 0 })
    }

    /// From now on all of its sockets listen.
    pub fn listen(&self) -> io::Result<()> {
        self.listeners.iter().try_for_each(|listener| listen(&SockRef::from(listener.get_ref())))
    }

    /// The next connection, or the next one that had to be turned away. Cancel safe.
    pub async fn accept(&mut self) -> Accepted {
        loop {
            if self.batch >= BATCH {
                self.batch = 0;
                tokio::task::yield_now().await;
            }
            match std::future::poll_fn(|cx| self.poll(cx)).await {
                Ok(accepted) => return accepted,
                Err(NoDescriptor) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Stops listening, and yields what the kernel has accepted until now: it would be reset otherwise.
    ///
    /// The kernel is asked itself here: what tokio knows of the queue is as old as its last look at epoll.
    pub fn into_queued(self) -> impl Iterator<Item = Accepted> {
        let Self { listeners, admission, .. } = self;
        listeners.into_iter().map(AsyncFd::into_inner).flat_map(move |listener| {
            let admission = admission.clone();
            std::iter::from_fn(move || {
                let (stream, client) = listener.accept().ok()?;
                Some(admit(&admission, stream.into(), client))
            })
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Accepted, NoDescriptor>> {
        loop {
            let Poll::Ready(accepted) = self.poll_accept(cx) else {
                self.batch = 0;
                return Poll::Pending;
            };
            match accepted {
                Ok((stream, client)) => {
                    self.batch += 1;
                    return Poll::Ready(Ok(admit(&self.admission, stream, client)));
                }
                Err(error) if is_exhaustion(&error) => {
                    self.batch += 1;
                    return self.poll_shed(cx);
                }
                Err(error) if is_of_one_connection(&error) => {
                    log::debug!("a connection ended before it was accepted: {error}");
                }
                Err(error) => {
                    log::error!("accept failed, trying again in {PAUSE:?}: {error}");
                    return Poll::Ready(Err(NoDescriptor));
                }
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        for index in 0..self.listeners.len() {
            let accepted = self.listeners.get(index).map(|listener| poll_one(listener, cx));
            if let Some(Poll::Ready(accepted)) = accepted {
                self.listeners.rotate_left(index + 1);
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    /// Makes room for one descriptor and turns away whoever is next.
    ///
    /// The kernel takes a descriptor before it looks at the queue, so an empty queue ends here too.
    fn poll_shed(&mut self, cx: &mut Context<'_>) -> Poll<Result<Accepted, NoDescriptor>> {
        if self.reserve.is_none() {
            self.reserve = reserve();
        }
        if self.reserve.take().is_none() {
            return Poll::Ready(Err(NoDescriptor));
        }
        let shed = match self.poll_accept(cx) {
            Poll::Ready(Ok((stream, _))) => {
                reset(stream);
                Poll::Ready(Ok(Accepted::Shed(Shed::Exhausted)))
            }
            // Another thread was faster and took the descriptor.
            Poll::Ready(Err(_)) => Poll::Ready(Err(NoDescriptor)),
            Poll::Pending => Poll::Pending,
        };
        self.reserve = reserve();
        shed
    }
}

fn register(listener: std::net::TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    listener.set_nonblocking(true)?;
    // SAFETY: a listener owns its descriptor until it is dropped, and is not changed in there.
    Ok(unsafe { AsyncFd::register(TcpListener::from_std(listener)) }?)
}

fn poll_one(listener: &AsyncFd<TcpListener>, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
    loop {
        let mut ready = ready!(listener.poll_read_ready(cx))?;
        // An error in the outer result: the queue is empty, and the readiness is forgotten.
        if let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) {
            return Poll::Ready(accepted.map(|(stream, client)| (stream.into(), client)));
        }
    }
}

fn admit(admission: &Admission, stream: TcpStream, client: SocketAddr) -> Accepted {
    let Some(permit) = admission.enter() else {
        reset(stream);
        return Accepted::Shed(Shed::Full);
    };
    Accepted::Connection(Arrival { stream, client, permit })
}

/// There was no descriptor to turn a client away with.
struct NoDescriptor;

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Closes with a reset: the client knows at once, and no `TIME_WAIT` is left here.
#[expect(clippy::needless_pass_by_value, reason = "it is closed here")]
fn reset(stream: TcpStream) {
    if let Err(error) = SockRef::from(&stream).set_linger(Some(Duration::ZERO)) {
        log::debug!("a client gets FIN instead of a reset: {error}");
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Errors that belong to the connection at the head of the queue: it is gone, the next one may be well (accept(2),
/// "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EPROTO
                | libc::EPERM
                | libc::EINTR
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::ETIMEDOUT
        )
    )
}
