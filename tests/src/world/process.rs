//! A program that runs in a namespace: its output is kept, and it is gone when its owner is.

use std::{
    io::{BufRead as _, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::namespace::Namespace;
use crate::wait;

pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `command`; what it prints goes to the test's own (captured) output under `name`.
    pub fn start(namespace: &Namespace, name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = namespace.start(command);
        let lines = Arc::default();
        collect(name, child.stdout.take().expect("piped above"), &lines);
        collect(name, child.stderr.take().expect("piped above"), &lines);
        Self { name: name.to_owned(), child, lines }
    }

    /// Starts a service that forks: in a process namespace of its own, so that none of its children outlives it.
    pub fn service(namespace: &Namespace, name: &str, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--", program]).args(arguments);
        Self::start(namespace, name, command)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal).unwrap_or_else(|error| panic!("send {signal} to {}: {error}", self.name));
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("ask after {}: {error}", self.name))
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let ended = wait::within(limit, || self.ended());
        ended.unwrap_or_else(|| panic!("{} still runs after {limit:?}", self.name))
    }

    /// Panics if it has ended: something waits for it in vain.
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            // The readers see the last lines a moment after the end.
            wait::pause(Duration::from_millis(100));
            let signal = status.signal().map(|number| format!(" (signal {number})")).unwrap_or_default();
            panic!("{} ended early: {status}{signal}\n{}", self.name, self.printed());
        }
    }

    /// Everything that it printed so far, stdout and stderr.
    pub fn printed(&self) -> String {
        self.lines.lock().expect("readers do not panic").join("\n")
    }

    /// What it has printed until now counts no more.
    pub fn forget(&mut self) {
        self.lines.lock().expect("readers do not panic").clear();
    }

    /// Waits until it prints a line that contains `part`, and gives that line.
    pub fn await_line(&mut self, part: &str) -> String {
        let what = format!("{} prints {part:?}", self.name);
        wait::eventually(&what, || {
            let found =
                self.lines.lock().expect("readers do not panic").iter().find(|line| line.contains(part)).cloned();
            if found.is_none() {
                self.must_run();
            }
            found
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn collect(name: &str, from: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let (name, lines) = (name.to_owned(), Arc::clone(lines));
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            eprintln!("[{name}] {line}");
            lines.lock().expect("readers do not panic").push(line);
        }
    });
}

/// Whether a process is a descendant of another one.
pub(super) fn is_below(pid: &str, ancestor: u32) -> bool {
    let mut pid: u32 = pid.parse().unwrap_or(0);
    while pid > 1 && pid != ancestor {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // `man 5 proc`: the parent is the second field behind the command's closing parenthesis.
        let parent = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
        pid = parent.unwrap_or(0);
    }
    pid == ancestor
}
