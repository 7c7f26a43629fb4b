//! Serves a router on a listener: as many connections as there are places, each with a deadline for what it asks.
//!
//! `axum::serve` waits for a request as long as its connection lasts, and takes every connection there is. One that says
//! nothing would hold a descriptor for good, and descriptors are what clients of applications are accepted with.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    serve::Listener,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::AsyncWriteExt as _,
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::task::TaskTracker;

/// Connections of one listener at once. Whoever comes beyond is told so.
const MOST: usize = 64;
/// How long a request may take to come, its head and its body each; a connection without one ends after it, too.
const PATIENCE: Duration = Duration::from_secs(10);
/// A rule with long notes is less.
const LARGEST: usize = 1 << 20;
/// Of a request's head.
const LARGEST_HEAD: usize = 64 << 10;

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// How long a connection may last.
#[derive(Clone, Copy, Debug)]
pub enum Lasting {
    /// As long as both sides like: an answer may be a stream of events.
    Unbounded,
    /// So long, and then until the answer under way is written, for as long as a request may take. A client that does not
    /// read holds a place no longer.
    AtMost(Duration),
}

/// Until `stop` says so: then connections that are open end with the answer that is under way, and `open` tells of them. One
/// that was kept for further questions would go on to ask a process that is not the one that serves.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    lasting: Lasting,
    open: TaskTracker,
    mut stop: watch::Receiver<bool>,
) {
    let router = router.layer(middleware::from_fn(whole));
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        // It waits out what accept(2) says of descriptors.
        let (mut io, _) = tokio::select! {
            biased;
            () = told(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // The answer fits into an empty socket buffer: this waits for nobody.
            let _ = timeout(Duration::from_millis(10), io.write_all(FULL)).await;
            continue;
        };
        let (service, mut stop) = (TowerToHyperService::new(router.clone()), stop.clone());
        open.spawn(async move {
            let _place = place;
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(LARGEST_HEAD);
            let mut connection = pin!(server.serve_connection(TokioIo::new(io), service));
            let time_is_over = async {
                match lasting {
                    Lasting::Unbounded => told(&mut stop).await,
                    Lasting::AtMost(time) => drop(timeout(time, told(&mut stop)).await),
                }
            };
            // How it ended is the client's to know.
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                () = time_is_over => connection.as_mut().graceful_shutdown(),
            }
            match lasting {
                Lasting::Unbounded => drop(connection.await),
                Lasting::AtMost(_) => drop(timeout(PATIENCE, connection).await),
            }
        });
    }
}

/// Ready when it is time to stop. Cancel safe.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Hands a request on when all of it is there.
async fn whole(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match timeout(PATIENCE, to_bytes(body, LARGEST)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok(Err(_)) => {
            let message = format!("the body is larger than {LARGEST} bytes, or has no end\n");
            (StatusCode::PAYLOAD_TOO_LARGE, message).into_response()
        }
        Err(_) => {
            let message = format!("the body did not come within {} s\n", PATIENCE.as_secs());
            (StatusCode::REQUEST_TIMEOUT, message).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::routing::get;
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn client(lasting: Lasting) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // More than the sockets between hold.
        let large = Router::new().route("/", get(|| async { vec![b'x'; 64 << 20] }));
        tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            serve(listener, large, lasting, TaskTracker::new(), stopped).await;
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        client
    }

    /// How much of the answer there is for one who waits before he reads.
    async fn read_late(client: TcpStream) -> usize {
        tokio::time::sleep(Duration::from_mins(1)).await;
        let mut client = client.into_std().unwrap();
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        // The paused clock stands still meanwhile.
        let read = move || {
            let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
            // An end in the middle of an answer may be a reset.
            while let Ok(count @ 1..) = client.read(&mut buffer) {
                read += count;
            }
            read
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_is_kept_ends_when_another_process_serves() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let open = TaskTracker::new();
        let router = Router::new().route("/", get(|| async { "x" }));
        let serving = tokio::spawn(serve(listener, router, Lasting::Unbounded, open.clone(), stopped));
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut answer = vec![0; 1024];
        for _ in 0..2 {
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            assert!(client.read(&mut answer).await.unwrap() > 0, "it is kept");
        }
        stop.send_replace(true);
        assert_eq!(client.read(&mut answer).await.unwrap(), 0);
        serving.await.unwrap();
        open.close();
        open.wait().await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_let_go_of() {
        let read = read_late(client(Lasting::AtMost(Duration::from_secs(5))).await).await;
        assert!((1..64 << 20).contains(&read), "{read}");
        assert!(read_late(client(Lasting::Unbounded).await).await > 64 << 20);
    }
}
