//! Accepting, also when descriptors run out: then clients are turned away one by one instead of spinning.

use std::{
    fs::File,
    io,
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};

use super::{Admission, Permit};

/// Connections accepted in one go before others get their turn.
const BATCH: u32 = 64;
/// How long to leave the queue alone when there is not even a descriptor to turn a client away with.
const PAUSE: Duration = Duration::from_millis(20);

/// Accepts from one listening socket.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    admission: Admission,
    /// Given up for a moment when descriptors run out, so that `accept` has one to work with.
    reserve: Option<File>,
    batch: u32,
}

/// What came out of the accept queue.
#[derive(Debug)]
pub enum Accepted {
    Connection(TcpStream, SocketAddr, Permit),
    /// Reset at once, and why.
    Shed(Shed),
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
    pub fn new(listener: std::net::TcpListener, admission: Admission) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, admission, reserve: reserve(), batch: 0 })
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

    /// What is in the queue right now, without waiting for more.
    pub async fn accept_queued(&mut self) -> Option<Accepted> {
        // Unconstrained: running out of tokio's budget must not look like an empty queue.
        tokio::task::unconstrained(std::future::poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(Ok(accepted)) => Poll::Ready(Some(accepted)),
            Poll::Ready(Err(NoDescriptor)) | Poll::Pending => Poll::Ready(None),
        }))
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Accepted, NoDescriptor>> {
        loop {
            let Poll::Ready(accepted) = self.listener.poll_accept(cx) else {
                self.batch = 0;
                return Poll::Pending;
            };
            match accepted {
                Ok((stream, client)) => {
                    self.batch += 1;
                    return Poll::Ready(Ok(self.admit(stream, client)));
                }
                Err(error) if is_exhaustion(&error) => {
                    self.batch += 1;
                    return Poll::Ready(self.shed(cx));
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

    fn admit(&self, stream: TcpStream, client: SocketAddr) -> Accepted {
        let Some(permit) = self.admission.enter() else {
            reset(stream);
            return Accepted::Shed(Shed::Full);
        };
        Accepted::Connection(stream, client, permit)
    }

    fn shed(&mut self, cx: &mut Context<'_>) -> Result<Accepted, NoDescriptor> {
        if self.reserve.is_none() {
            self.reserve = reserve();
        }
        drop(self.reserve.take().ok_or(NoDescriptor)?);
        let accepted = self.listener.poll_accept(cx);
        let shed = match accepted {
            Poll::Ready(Ok((stream, _))) => {
                reset(stream);
                Ok(Accepted::Shed(Shed::Exhausted))
            }
            // Another thread was faster and took the descriptor.
            Poll::Ready(Err(_)) | Poll::Pending => Err(NoDescriptor),
        };
        self.reserve = reserve();
        shed
    }
}

/// There was no descriptor to turn a client away with.
struct NoDescriptor;

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Closes with a reset: the client knows at once, and no TIME_WAIT is left here.
fn reset(stream: TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
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
