//! Daemons of which each takes over from the one before: no children of the test, and gone with it all the same.
//!
//! They run in a process namespace of their own. Its first process adopts them, and all of them are killed with it.

use std::{
    fs,
    io::IoSliceMut,
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use nix::{
    cmsg_space,
    libc::ucred,
    sys::{
        signal::{Signal, kill},
        socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::PassCred},
    },
    unistd::Pid,
};

use super::{
    edge::{Edge, binary},
    process::{Process, is_below},
};
use crate::wait::{self, DEADLINE};

/// Stays, and takes care of whoever has no parent any more.
const FIRST: &str = r#""$@" & while sleep 0.2; do :; done"#;

pub struct Lineage<'edge> {
    edge: &'edge Edge,
    first: Process,
    notify: UnixDatagram,
    /// Who said last that it is ready.
    pid: u32,
}

impl<'edge> Lineage<'edge> {
    /// Starts the first `spectrum run`, and waits until it is ready.
    pub fn start(edge: &'edge Edge, config: impl Into<String>) -> Self {
        Self::start_at(edge, &binary(), config)
    }

    /// As [`Self::start`], with the program at this path.
    pub fn start_at(edge: &'edge Edge, program: &Path, config: impl Into<String>) -> Self {
        let config = edge.write_config(config);
        let (notify, path) = edge.notify_socket();
        setsockopt(&notify, PassCred, &true).expect("be told who sends");
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--", "sh", "-c", FIRST, "first"]);
        command.arg(program).args(["run", "--config"]).arg(config);
        command.env("NOTIFY_SOCKET", path).env_remove("WATCHDOG_USEC").env("RUST_BACKTRACE", "1");
        let first = Process::start(edge.namespace(), "spectrum", command);
        let mut lineage = Self { edge, first, notify, pid: 0 };
        lineage.await_successor();
        lineage
    }

    /// Who serves.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn edge(&self) -> &'edge Edge {
        self.edge
    }

    /// `spectrum upgrade`, whatever comes of it.
    pub fn try_upgrade(&self, arguments: &[&str]) -> Output {
        // A service manager reads: who speaks to it waits while its queue is full (`net.unix.max_dgram_qlen`).
        while self.notification().is_some() {}
        self.edge.spectrum(&[&["upgrade"], arguments].concat())
    }

    /// An upgrade that succeeds. Returns when the successor has said that it is ready.
    pub fn upgrade(&mut self) {
        self.edge.spectrum_ok(&["upgrade"]);
        self.await_successor();
    }

    /// Waits until another process than before says that it is ready.
    pub fn await_successor(&mut self) {
        let before = self.pid;
        self.pid = wait::eventually("another process is ready", || {
            self.first.must_run();
            let (sender, text) = self.notification()?;
            (text.lines().any(|line| line == "READY=1") && sender != before).then_some(sender)
        });
    }

    /// Everything that runs of `spectrum`.
    pub fn processes(&self) -> Vec<u32> {
        let all = fs::read_dir("/proc").expect("there are processes");
        let all = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        all.filter(|pid| runs(*pid) && is_below(&pid.to_string(), self.first.pid())).collect()
    }

    /// Waits until no process is left but the one that serves.
    pub fn await_alone(&self) {
        wait::eventually("no process is left but one", || (self.processes() == [self.pid]).then_some(()));
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }

    /// SIGTERM, and waits until nothing runs any more.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        self.await_end();
    }

    /// SIGTERM to everything that runs, and waits until nothing does any more.
    pub fn terminate_all(&self) {
        self.processes().into_iter().for_each(|pid| send(pid, Signal::SIGTERM));
        self.await_end();
    }

    /// Waits until nothing runs any more.
    pub fn await_end(&self) {
        wait::eventually("all have ended", || self.processes().is_empty().then_some(()));
    }

    /// Everything that they printed so far.
    pub fn printed(&self) -> String {
        self.first.printed()
    }

    /// How many descriptors the one that serves has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("it runs").count()
    }

    /// Kilobytes of memory that it alone has.
    pub fn memory_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).expect("the key exists");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of kB")
    }

    /// Who sent the next message to the service manager, and what it says.
    fn notification(&self) -> Option<(u32, String)> {
        let (mut text, mut control) = ([0; 4096], cmsg_space!(ucred));
        let mut slices = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<()>(self.notify.as_raw_fd(), &mut slices, Some(&mut control), flags).ok()?;
        let sender = received.cmsgs().expect("whole").find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(who) => Some(who.pid().cast_unsigned()),
            _ => None,
        });
        let length = received.bytes;
        Some((sender.expect("the kernel says who"), String::from_utf8_lossy(text.get(..length)?).into_owned()))
    }
}

pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap_or_else(|error| panic!("send {signal} to {pid}: {error}"));
}

/// `kill -9`; it may have ended by itself.
pub fn kill_if_there(pid: u32) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
}

/// Whether this is a `spectrum` that runs.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // `man 5 proc`: the state follows the command in its parentheses.
    stat.rsplit_once(") ").is_some_and(|(command, rest)| command.contains("(spectrum") && !rest.starts_with('Z'))
}

impl Drop for Lineage<'_> {
    fn drop(&mut self) {
        // Before the world's files go: nothing of it may still write there.
        self.first.signal(Signal::SIGKILL);
        let _ = wait::within(DEADLINE.min(Duration::from_secs(10)), || self.processes().is_empty().then_some(()));
    }
}
