//! Waiting for something on behalf of a connection, for as long as the connection is wanted.

use std::{
    pin::{Pin, pin},
    task::Poll,
};

use tokio::{io::Interest, net::TcpStream};

use super::{connection::Connection, outcome::Failure, relay};

/// Runs until it is done or somebody ends the connection.
pub(super) async fn unless_ended<T>(
    connection: &Connection,
    mut running: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Failure> {
    std::future::poll_fn(|cx| match connection.poll_ended(cx) {
        Poll::Ready(failure) => Poll::Ready(Err(failure)),
        Poll::Pending => running.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// As [`unless_ended`], and as long as the client is there.
pub(super) async fn while_client_stays<T>(
    connection: &Connection,
    client: &TcpStream,
    mut running: impl Future<Output = T> + Unpin,
) -> Result<T, Failure> {
    let mut client_error = pin!(client.ready(Interest::ERROR));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(failure) = connection.poll_ended(cx) {
            return Poll::Ready(Err(failure));
        }
        if let Poll::Ready(done) = Pin::new(&mut running).poll(cx) {
            return Poll::Ready(Ok(done));
        }
        // A client that resets while we dial. One that only closed its sending half is still waiting for an answer.
        match client_error.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Failure::Client(relay::pending_error(client)))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
