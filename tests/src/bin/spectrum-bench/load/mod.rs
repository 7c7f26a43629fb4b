//! The client's side: load generators that know nothing about contestants or figures.

pub(crate) mod bulk;
pub(crate) mod churn;
pub(crate) mod connect;
pub(crate) mod exchange;
pub(crate) mod fresh;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod paced;
pub(crate) mod requests;
pub(crate) mod tls;

use std::io::{Read, Write};
use std::time::Duration;

/// A connection that waits: in clear, or in TLS.
pub(crate) trait Duplex: Read + Write + Send {}

impl<S: Read + Write + Send> Duplex for S {}

/// Bytes of a small request and of its answer.
pub(crate) const MESSAGE: usize = 100;
/// Threads of the generators for small things: as many as every contestant has workers.
pub(crate) const THREADS: usize = 2;

/// Lets time pass: a measured window is a span of time.
pub(crate) fn pause(span: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a pause is the point: the load runs in other threads meanwhile")]
    std::thread::sleep(span);
}
