//! The edge as a host with a service manager: systemd as its first process, over a copy of this machine's files that is
//! gone afterwards.

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sys::signal::Signal;

use super::{
    edge::{Edge, binary},
    process::{Process, is_below},
};
use crate::wait;

static BOOTS: AtomicU32 = AtomicU32::new(0);

/// Runs until it is dropped. Its network is the edge's.
pub struct Systemd<'edge> {
    edge: &'edge Edge,
    script: Process,
    /// systemd itself.
    first: String,
}

impl<'edge> Systemd<'edge> {
    pub fn boot(edge: &'edge Edge) -> Self {
        let name = format!("spectrum-test-{}-{}", std::process::id(), BOOTS.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new("sh");
        command.args(["-c", include_str!("systemd.sh"), "systemd", &name]).arg(binary());
        let mut script = Process::start(edge.namespace(), "systemd", command);
        let first = wait::eventually("systemd runs", || {
            script.must_run();
            let found = edge.namespace().output(search(&["--exact", "systemd"]));
            let pids = String::from_utf8_lossy(&found.stdout).into_owned();
            pids.lines().find(|pid| is_below(pid, script.pid())).map(str::to_owned)
        });
        let mut host = Self { edge, script, first };
        wait::eventually("systemd is up", || {
            host.script.must_run();
            let state = host.output("systemctl", &["is-system-running"]);
            ["running\n", "degraded\n"].contains(&&*String::from_utf8_lossy(&state.stdout)).then_some(())
        });
        host
    }

    /// Runs a program on this host to its end.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd=/"]);
        command.args(["--", program]).args(arguments);
        self.edge.namespace().output(command)
    }

    /// What a program printed; panics with its stderr unless it succeeded.
    pub fn stdout(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Puts a file onto this host.
    pub fn write(&self, path: &str, contents: impl Into<String>) {
        let shared = self.edge.namespace().write("file", contents.into());
        self.stdout("cp", &[shared.to_str().expect("UTF-8"), path]);
    }
}

impl Drop for Systemd<'_> {
    fn drop(&mut self) {
        // By a signal that it can catch: its control groups go too.
        self.script.signal(Signal::SIGTERM);
        // It is killed next, if it still runs.
        let _ = wait::within(wait::DEADLINE, || self.script.ended());
    }
}

fn search(arguments: &[&str]) -> Command {
    let mut command = Command::new("pgrep");
    command.args(arguments);
    command
}
