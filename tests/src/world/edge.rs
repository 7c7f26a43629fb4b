//! The edge: where the real `spectrum` binary runs.

use std::{
    cell::Cell,
    collections::HashSet,
    env,
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    EDGE, EDGE_V6, HOST, HOST_V6,
    dns::Dns,
    namespace::{DIRECTORY, Namespace},
    process::Process,
    server::Server,
};
use crate::wait::{self, DEADLINE};

pub struct Edge {
    namespace: Namespace,
    runs: Cell<u32>,
}

impl Edge {
    pub(super) fn new(namespace: Namespace) -> Self {
        Self { namespace, runs: Cell::new(0) }
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A service of the host itself, which has nothing to do with `spectrum`: listens on every address of the host.
    pub fn host_service(&self, ports: &[u16]) -> Server {
        Server::named(&self.namespace, (HOST, HOST_V6), ports)
    }

    /// A name server that the edge asks.
    pub fn dns(&self) -> Dns {
        Dns::start(&self.namespace)
    }

    /// Starts `spectrum run` and waits until it says that it is ready.
    pub fn run(&self, config: impl Into<String>) -> Daemon<'_> {
        let mut daemon = self.start(config);
        daemon.await_ready();
        daemon
    }

    /// Starts `spectrum run` without waiting for anything.
    pub fn start(&self, config: impl Into<String>) -> Daemon<'_> {
        let config = self.write_config(config);
        self.start_command(|spectrum| {
            let mut command = Command::new(spectrum);
            command.args(["run", "--config"]).arg(&config);
            command
        })
    }

    /// Starts the daemon through another program, for instance `prlimit`: `command` gets the binary's path.
    pub fn start_command(&self, command: impl FnOnce(&Path) -> Command) -> Daemon<'_> {
        let (notify, path) = self.notify_socket();
        notify.set_read_timeout(Some(Duration::from_millis(20))).expect("set a timeout");
        let mut command = command(&binary());
        command.env("NOTIFY_SOCKET", path).env_remove("WATCHDOG_USEC").env("RUST_BACKTRACE", "1");
        Daemon { edge: self, process: Process::start(&self.namespace, "spectrum", command), notify }
    }

    /// A service manager's socket, and its path.
    pub(super) fn notify_socket(&self) -> (UnixDatagram, PathBuf) {
        self.runs.set(self.runs.get() + 1);
        let path = Path::new(DIRECTORY).join(format!("notify-{}", self.runs.get()));
        let bound = path.clone();
        (self.namespace.run(move || UnixDatagram::bind(bound)).expect("bind the notify socket"), path)
    }

    /// Writes the file that the edge's daemon reads, whole or not at all.
    pub fn write_config(&self, config: impl Into<String>) -> PathBuf {
        self.namespace.write("spectrum.toml", config.into())
    }

    /// Runs `spectrum` with these arguments to its end.
    pub fn spectrum(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).env_remove("NOTIFY_SOCKET");
        self.namespace.output(command)
    }

    /// Starts `spectrum` with these arguments, without waiting for its end.
    pub fn start_spectrum(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(binary());
        command.args(arguments).env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.namespace.start(command)
    }

    /// Runs `spectrum VERB --config F` with this configuration.
    pub fn spectrum_with(&self, verb: &str, config: impl Into<String>) -> Output {
        let path = self.write_config(config);
        self.spectrum(&[verb, "--config", path.to_str().expect("UTF-8")])
    }

    /// What `spectrum` printed; panics with its stderr unless it succeeded.
    pub fn spectrum_ok(&self, arguments: &[&str]) -> String {
        let output = self.spectrum(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "spectrum {}: {}\n{stdout}\n{stderr}", arguments.join(" "), output.status);
        stdout.into_owned()
    }

    /// What a program of the host printed here; panics with its stderr unless it succeeded.
    pub fn stdout(&self, program: &str, arguments: &[&str]) -> String {
        self.namespace.stdout(program, arguments)
    }

    /// Everything that `spectrum` could have left on the host: links, addresses, routes, rules, sockets, packet filters,
    /// sysctls, pins.
    pub fn traces(&self) -> Traces {
        let commands: [&[&str]; 7] = [
            &["ip", "-details", "link"],
            &["ip", "address"],
            &["ip", "route", "show", "table", "all"],
            &["ip", "-6", "route", "show", "table", "all"],
            &["ip", "rule"],
            &["ss", "-Hltnu"],
            &["nft", "list", "ruleset"],
        ];
        let mut text = String::new();
        for command in commands {
            let (program, arguments) = command.split_first().expect("a program each");
            text += &format!("# {}\n{}\n", command.join(" "), self.stdout(program, arguments));
        }
        text += "# sysctls\n";
        text += &self.namespace.run(|| walk(Path::new("/proc/sys/net"), true));
        text += "# pins and run files\n";
        text +=
            &self.namespace.run(|| walk(Path::new("/sys/fs/bpf"), false) + &walk(Path::new("/run/spectrum"), false));
        Traces(text)
    }
}

/// What the host looks like, to be compared with what it looks like later.
#[derive(PartialEq, Eq)]
pub struct Traces(String);

impl Traces {
    /// Panics with the lines that differ.
    pub fn assert_unchanged(&self, edge: &Edge) {
        let now = edge.traces();
        let only_in = |one: &Self, other: &Self, sign: char| -> String {
            let known: HashSet<_> = other.0.lines().collect();
            one.0.lines().filter(|line| !known.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
        };
        let difference = only_in(self, &now, '-') + &only_in(&now, self, '+');
        assert!(difference.is_empty(), "the host is not as it was before:\n{difference}");
    }
}

/// A running `spectrum run`. Dropping it kills it.
pub struct Daemon<'edge> {
    edge: &'edge Edge,
    process: Process,
    notify: UnixDatagram,
}

impl Daemon<'_> {
    /// This port of [`EDGE`].
    pub fn at(&self, port: u16) -> SocketAddr {
        at(EDGE, port)
    }

    /// This port of [`EDGE_V6`].
    pub fn at_v6(&self, port: u16) -> SocketAddr {
        at(EDGE_V6, port)
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until it has said READY=1 once more than before.
    pub fn await_ready(&mut self) {
        self.await_notification("READY=1");
    }

    /// Waits for a message to the service manager that has this line.
    pub fn await_notification(&mut self, wanted: &str) {
        let mut message = [0; 4096];
        wait::eventually(&format!("spectrum says {wanted}"), || {
            if let Ok(length) = self.notify.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                return text.lines().any(|line| line == wanted).then_some(());
            }
            self.process.must_run();
            None
        });
    }

    /// Writes another configuration, sends SIGHUP, and waits until the daemon has dealt with it, whatever it made of it.
    pub fn reload(&mut self, config: impl Into<String>) {
        self.edge.write_config(config);
        self.process.signal(Signal::SIGHUP);
        self.await_notification("RELOADING=1");
        self.await_ready();
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(DEADLINE)
    }

    /// `kill -9`: nothing of the daemon runs any more.
    pub fn kill(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait(DEADLINE);
    }

    /// `spectrum status` as its machine-readable self.
    pub fn status(&self) -> Value {
        self.edge.status()
    }

    /// Whether it is in the protected mode.
    pub fn is_protected(&self) -> bool {
        !self.status()["daemon"]["protection"].is_null()
    }

    /// Packets of a reason, over all applications.
    pub fn counter(&self, reason: &str) -> u64 {
        self.edge.counter(reason)
    }

    /// CPU time that the process has used.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the daemon runs");
        // `man 5 proc`: fields 14 and 15, counted behind the command's closing parenthesis.
        let (_, fields) = stat.rsplit_once(") ").expect("stat has a command");
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Panics where it uses CPU time while there is nothing to do, in each of three looks: what was before may have left
    /// something to be done.
    pub fn assert_idle(&self) {
        const LOOK: Duration = Duration::from_secs(2);
        const BOUND: Duration = Duration::from_millis(500);
        let mut looks = Vec::new();
        while looks.len() < 3 {
            let before = self.cpu_time();
            wait::pause(LOOK);
            let used = self.cpu_time().saturating_sub(before);
            if used < BOUND {
                return;
            }
            looks.push(used);
        }
        panic!("{looks:?} of CPU time, each in {LOOK:?} of nothing to do");
    }

    /// Kilobytes of memory that the process has mapped and touched, by key of `/proc/PID/smaps_rollup`.
    pub fn memory_kib(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("the daemon runs");
        let line = text.lines().find(|line| line.starts_with(&format!("{key}:"))).expect("the key exists");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of kB")
    }
}

impl Edge {
    /// `spectrum status` as its machine-readable self, with or without a daemon.
    pub fn status(&self) -> Value {
        let output = self.spectrum(&["status", "--output", "json"]);
        let stdout = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&stdout).unwrap_or_else(|error| {
            panic!("status is no JSON: {error}\n{stdout}\n{}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// Packets of a reason as the pinned map of the default instance has them: needs no daemon.
    pub fn counter(&self, reason: &str) -> u64 {
        let index = spectrum_common::Reason::ALL.iter().position(|known| known.as_str() == reason);
        let index = index.unwrap_or_else(|| panic!("no reason is called {reason}"));
        let dump =
            self.stdout("bpftool", &["--json", "map", "dump", "pinned", "/sys/fs/bpf/spectrum/default/COUNTERS"]);
        packets(&serde_json::from_str(&dump).expect("bpftool prints JSON"), index)
    }
}

/// Sum over the CPUs of one slot, from a dump of a per-CPU array that has BTF.
fn packets(dump: &Value, index: usize) -> u64 {
    let elements = dump.as_array().expect("a list of elements");
    let element = elements.iter().find(|element| element["formatted"]["key"] == index).expect("the slot exists");
    let cpus = element["formatted"]["values"].as_array().expect("a value for each CPU");
    cpus.iter().map(|cpu| cpu["value"]["packets"].as_u64().expect("a count")).sum()
}

pub fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// The binary under test: `SPECTRUM_BIN`, else the one that was built into the same target directory as this test.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("SPECTRUM_BIN") {
        return path.into();
    }
    let test = env::current_exe().expect("a test knows where it is");
    let path = test.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps").join("spectrum");
    assert!(path.is_file(), "{} is missing: `cargo build -p spectrum-user` first, or set SPECTRUM_BIN", path.display());
    path
}

/// The files below `directory`, sorted, with their contents where asked for and readable.
fn walk(directory: &Path, contents: bool) -> String {
    let Ok(entries) = std::fs::read_dir(directory) else { return String::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("list a directory").path()).collect();
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let value =
            if contents && path.is_file() { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        // Counts what is there now, not how the host is set up.
        if path.ends_with("nf_conntrack_count") {
            continue;
        }
        text += &format!("{} {}\n", path.display(), value.trim());
        if path.is_dir() {
            text += &walk(&path, contents);
        }
    }
    text
}
