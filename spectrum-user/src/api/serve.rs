//! Serves a router on a listener: as many connections as there are places, each with a deadline for what it asks.
//!
//! `axum::serve` waits for a request as long as its connection lasts, and takes every connection there is. One that says
//! nothing would hold a descriptor for good, and descriptors are what clients of applications are accepted with.

use std::{convert::Infallible, sync::Arc, time::Duration};

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
use tokio::{io::AsyncWriteExt as _, sync::Semaphore, time::timeout};

/// Connections of one listener at once. Whoever comes beyond is told so.
const MOST: usize = 64;
/// How long a request may take to come, its head and its body each; a connection without one ends after it, too.
const PATIENCE: Duration = Duration::from_secs(10);
/// A rule with long notes is less.
const LARGEST: usize = 1 << 20;
/// Of a request's head.
const LARGEST_HEAD: usize = 64 << 10;

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Until it is dropped. Connections that are open then go on.
pub async fn serve<L: Listener>(mut listener: L, router: Router) -> Infallible {
    let router = router.layer(middleware::from_fn(whole));
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        // It waits out what accept(2) says of descriptors.
        let (mut io, _) = listener.accept().await;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // The answer fits into an empty socket buffer: this waits for nobody.
            let _ = timeout(Duration::from_millis(10), io.write_all(FULL)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(LARGEST_HEAD);
            // How it ended is the client's to know.
            let _ = server.serve_connection(TokioIo::new(io), service).await;
        });
    }
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
