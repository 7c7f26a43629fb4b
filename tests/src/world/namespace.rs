//! One network namespace with mounts of its own, held by a resident thread.
//!
//! A namespace belongs to a thread, and threads and processes that it starts inherit it. Everything that runs here is
//! started by the resident: it lives as long as the world, which matters because a child's `PR_SET_PDEATHSIG` fires
//! when the *thread* that forked it ends (`man 2 prctl`).

use std::{
    fs,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
    unistd::{Pid, geteuid, gettid},
};

use crate::wait;

/// A directory in memory that the namespaces of a world share and nobody else sees: files that a test's programs read.
pub const DIRECTORY: &str = "/mnt";

type Job = Box<dyn FnOnce() + Send>;

#[must_use]
pub struct Namespace {
    role: &'static str,
    tid: Pid,
    jobs: Option<mpsc::Sender<Job>>,
    resident: Option<JoinHandle<()>>,
}

impl Namespace {
    /// The first namespace of a world: brings [`DIRECTORY`].
    pub fn first(role: &'static str) -> Self {
        require_root();
        Self::start_resident(role, Some(DIRECTORY))
    }

    /// Another one of the same world: its [`DIRECTORY`] is the same.
    pub fn sibling(&self, role: &'static str) -> Self {
        self.resident(move || Self::start_resident(role, None))
    }

    fn start_resident(role: &'static str, directory: Option<&'static str>) -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, entered) = mpsc::channel();
        let resident = thread::Builder::new()
            .name(format!("{role} namespace"))
            .spawn(move || {
                let outcome = isolate(directory);
                let isolated = outcome.is_ok();
                ready.send(outcome.map(|()| gettid())).expect("the world waits for this");
                if isolated {
                    for job in inbox {
                        job();
                    }
                }
            })
            .expect("start a thread");
        let tid = entered
            .recv()
            .expect("the resident answers")
            .unwrap_or_else(|error| panic!("make the {role} namespace: {error:#}; {NEEDS}"));
        Self { role, tid, jobs: Some(jobs), resident: Some(resident) }
    }

    /// Where this namespace can be opened as long as it lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/task/{}/ns/net", Pid::this(), self.tid)
    }

    /// Runs `f` on a fresh thread inside the namespace, beside whatever else runs there.
    pub fn spawn<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
        self.resident(move || thread::spawn(f))
    }

    /// Runs `f` on a fresh thread inside the namespace and waits for its answer.
    pub fn run<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        self.spawn(f).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Writes a file of [`DIRECTORY`], whole or not at all.
    pub fn write(&self, name: &str, contents: impl Into<Vec<u8>>) -> PathBuf {
        let path = Path::new(DIRECTORY).join(name);
        let (target, contents) = (path.clone(), contents.into());
        let fresh = path.with_extension("fresh");
        let written = self.run(move || fs::write(&fresh, contents).and_then(|()| fs::rename(&fresh, target)));
        written.unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Starts a program inside the namespace that is killed when this process ends, however it ends.
    pub fn start(&self, mut command: Command) -> Child {
        // SAFETY: only async-signal-safe calls between fork and exec: prctl and nothing else.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let line = format!("{command:?}");
        self.resident(move || command.spawn()).unwrap_or_else(|error| panic!("start {line}: {error}"))
    }

    /// Runs a program inside the namespace to its end, whatever its end is.
    pub fn output(&self, mut command: Command) -> Output {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = format!("{command:?}");
        self.start(command).wait_with_output().unwrap_or_else(|error| panic!("wait for {line}: {error}"))
    }

    /// What a program printed; panics with its stderr unless it succeeded.
    pub fn stdout(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments);
        let output = self.output(command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{program} {} in {}: {}\n{stderr}",
            arguments.join(" "),
            self.role,
            output.status
        );
        String::from_utf8(output.stdout).expect("programs print UTF-8")
    }

    /// Runs `ip` commands in one go; panics with what `ip` says about the first that fails.
    pub fn ip(&self, lines: &[&str]) {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start(command);
        let mut stdin = child.stdin.take().expect("piped above");
        writeln!(stdin, "{}", lines.join("\n")).expect("ip reads its commands");
        drop(stdin);
        let output = child.wait_with_output().expect("wait for ip");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip in {}: {}\n{}\n{stderr}", self.role, output.status, lines.join("\n"));
    }

    /// Puts an empty directory in the place of the host's, for everything that runs here.
    pub fn hide(&self, directory: &'static str) {
        let mounted = self.run(move || empty(directory));
        mounted.unwrap_or_else(|error| panic!("hide {directory} in {}: {error}", self.role));
    }

    /// Waits until the kernel has taken notice that a link's other end is up: it does so a moment later
    /// (`net/core/link_watch.c`).
    pub fn await_link(&self, name: &'static str) {
        wait::eventually(&format!("{name} is up in {}", self.role), || {
            let state = self.run(move || fs::read_to_string(format!("/sys/class/net/{name}/operstate")));
            state.is_ok_and(|state| state.trim() == "up").then_some(())
        });
    }

    fn resident<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        let (answer, answered) = mpsc::channel();
        let job: Job = Box::new(move || drop(answer.send(f())));
        self.jobs.as_ref().expect("taken only by drop").send(job).expect("the resident lives as long as we do");
        answered.recv().expect("a job for the resident does not panic")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(resident) = self.resident.take() {
            drop(resident.join());
        }
    }
}

/// Moves this thread into namespaces of its own, with the mounts that a fresh host has.
fn isolate(directory: Option<&str>) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // A sysfs shows the network namespace it was mounted in.
    umount2("/sys", MntFlags::MNT_DETACH)
        .or_else(|error| if error == nix::Error::EINVAL { Ok(()) } else { Err(error) })?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), Some("mode=0700"))?;
    empty("/run")?;
    // Where `spectrum` keeps its state.
    empty("/var/lib")?;
    for directory in ["/run/netns", "/run/sshd", "/run/lock"] {
        fs::create_dir(directory)?;
    }
    if let Some(directory) = directory {
        empty(directory)?;
    }
    for (sysctl, value) in [("net/ipv6/conf/all/disable_ipv6", "0"), ("net/ipv6/conf/default/accept_dad", "0")] {
        write_sysctl(sysctl, value)?;
    }
    Ok(())
}

fn empty(directory: &str) -> nix::Result<()> {
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
}

fn write_sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys").join(name), value)
}

/// Fails the test, never skips it.
pub fn require_root() {
    assert!(geteuid().is_root(), "this test needs root: {NEEDS}");
}

pub(crate) const NEEDS: &str =
    "run it as root with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, for instance by `cargo xtask test`";
