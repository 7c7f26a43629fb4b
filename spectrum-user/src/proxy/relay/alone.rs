//! The relay without a worker: for who has two sockets and neither an application nor a record.

use std::{
    cell::Cell,
    task::{Context, Poll},
};

use tokio::net::TcpStream;

use super::{Broken, Meter, Pools, Watch, carry, pump::Pump};
use crate::{listen::Admission, model::SpliceMode};

/// Buffers and pipes of one thread.
#[derive(Debug)]
pub(crate) struct Relay(Pools);

impl Relay {
    pub(crate) fn new(pipes: Admission) -> Self {
        Self(Pools::new(pipes))
    }

    /// Until both directions have ended in good order, or one side broke. Whoever drops this ends it.
    pub(crate) async fn between(&self, client: &TcpStream, origin: &TcpStream) -> Result<(), Broken> {
        let (up, down, spliced) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let meter = |read| Meter { read, spliced: &spliced, app_read: None, app_spliced: None };
        let (mut up_pump, mut down_pump) = (Pump::new(SpliceMode::Auto), Pump::new(SpliceMode::Auto));
        carry(&self.0, (&mut up_pump, &mut down_pump), (client, &meter(&up)), (origin, &meter(&down)), &Nobody).await
    }
}

/// Nobody looks on.
struct Nobody;

impl Watch for Nobody {
    type End = Broken;

    fn poll_ended(&self, _: &mut Context<'_>) -> Poll<Broken> {
        Poll::Pending
    }

    fn moved(&self) {}
}
