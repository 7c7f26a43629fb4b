//! The way back of a service's answers: to clients elsewhere, and yet to this process.
//!
//! An answer to a client leaves 127.0.0.1 for the client's address. A rule sends what the service sends to a table where
//! every address is local, so it arrives at the socket that has the client's address. The rules hold for the whole
//! network namespace; the last `spectrum unwrap` in it takes them all away. In numbers, for a service at 127.0.0.1:22:
//!
//! ```text
//! ip rule add from 127.0.0.1 iif lo ipproto tcp sport 22 lookup 213 priority 213 protocol 213
//! ip route add local default dev lo table 213 proto 213
//! ```
//! and the same for one at `::1`. What else loopback's addresses send goes where it went before.
//!
//! No lock keeps one from taking away what another just needs: whoever needs it puts it back within a second (`watch`), as it
//! does after somebody else who removes what he does not know.

mod table;
mod users;
mod watch;

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use self::{
    table::{Table, TableError},
    users::{User, users},
    watch::Watch,
};
use super::keeper::Keeper;

/// How long an ended process may take to close what it had open.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum WayError {
    #[error("cannot tell who else uses the rules; it needs AF_UNIX, and /proc")]
    Users(#[source] io::Error),
    #[error("cannot open a netlink socket")]
    Netlink(#[source] io::Error),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("cannot start the process that takes the rules away if this one is killed")]
    Keeper(#[source] io::Error),
}

/// The way is there as long as this value, or another process that has one.
#[derive(Debug)]
pub(super) struct Way {
    user: User,
    keeper: Keeper,
    watch: Watch,
}

impl Way {
    /// Makes it for these services, or uses what is there. What killed processes left is taken away before.
    pub(super) async fn open(services: impl Iterator<Item = SocketAddr>) -> Result<Self, WayError> {
        let services: Vec<_> = services.collect();
        let table = Table::open().map_err(WayError::Netlink)?;
        table.refuse_others(&services).await?;
        let user = User::join().map_err(WayError::Users)?;
        if users().map_err(WayError::Users)?.len() == 1 {
            table.remove().await?;
        }
        // Before there is anything to keep. Where what follows fails it takes away what was added.
        let keeper = Keeper::start(user.name()).map_err(WayError::Keeper)?;
        table.add(&services).await?;
        Ok(Self { user, keeper, watch: Watch::start(services) })
    }

    /// Takes it away where nobody else uses it.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.watch.end().await;
        let name = self.user.name().to_owned();
        drop(self.user);
        if !self.keeper.release().await {
            // It was killed, or said on standard error what it could not do.
            clear(&name).await?;
        }
        Ok(())
    }
}

/// Takes the way away unless somebody uses it. Who used it last may still be about to end: the kernel closes what a process
/// had open one after the other.
pub(super) async fn clear(last: &str) -> Result<(), WayError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let users = users().map_err(WayError::Users)?;
        if users.is_empty() {
            return Ok(Table::open().map_err(WayError::Netlink)?.remove().await?);
        }
        if !users.iter().any(|user| user == last) || Instant::now() > deadline {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}
