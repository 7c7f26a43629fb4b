//! A small process that outlives this one by a moment: it takes rules and routes away where this one was killed.
//!
//! It holds the reading end of a pipe whose other end only its parent has. However the parent ends, the kernel closes that
//! end; then the keeper does what there is to do, and ends. Through the pipe it was told its parent's name among the users.
//! It is in a process group of its own, so that Ctrl-C does not reach it, and does not heed SIGTERM, which service managers
//! send to all processes of a service.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
};

use tokio::sync::oneshot;

use super::way;

/// The verb that makes this program a keeper.
pub const VERB: &str = "unwrap-keeper";

/// A running keeper.
#[derive(Debug)]
pub(super) struct Keeper(Child);

impl Keeper {
    /// The running file, also where another has taken its name since.
    pub(super) fn start(user: &str) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(VERB).env_remove("NOTIFY_SOCKET").stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        if let Some(pipe) = &mut child.stdin {
            pipe.write_all(user.as_bytes())?;
        }
        Ok(Self(child))
    }

    /// Lets it do its work, and waits for that.
    pub(super) async fn release(mut self) -> bool {
        drop(self.0.stdin.take());
        let (ended, end) = oneshot::channel();
        // It has deadlines of its own.
        thread::spawn(move || ended.send(self.0.wait()));
        matches!(end.await, Ok(Ok(status)) if status.success())
    }
}

/// What a keeper does: waits for the end of its standard input, then takes away what nobody uses any more.
pub async fn keep() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // Installed and never looked at.
    let _heedless = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    let mut parent = String::new();
    io::stdin().read_to_string(&mut parent)?;
    Ok(way::clear(&parent).await?)
}
