//! A contestant's program: started inside the edge, waited for, ended.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::load::pause;
use crate::world::World;

/// Where configuration and output of contestants live: a private tmpfs.
pub(super) const DIRECTORY: &str = "/run/spectrum-bench";
const START: Duration = Duration::from_secs(15);
const STOP: Duration = Duration::from_secs(5);

pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` inside the edge and waits until `ready` accepts a connection from the client.
    pub(crate) fn start(world: &World, mut command: Command, ready: SocketAddr) -> Result<Self> {
        fs::create_dir_all(DIRECTORY)?;
        let log = Path::new(DIRECTORY).join("output");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = world.edge.run(|| command.spawn().with_context(|| format!("start {command:?}")))?;
        let mut process = Self { child, log };
        process.wait_until_ready(world, ready)?;
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self, world: &World, ready: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + START;
        let answers = || world.client.run(|| Ok(TcpStream::connect_timeout(&ready, Duration::from_millis(200))?));
        while answers().is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once ({status}) and said:\n{}", self.output());
            }
            if Instant::now() > deadline {
                bail!("{ready} does not accept connections after {START:?}; it said:\n{}", self.output());
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| format!("(no output: {error})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = Pid::from_raw(self.child.id().cast_signed());
        // Each of these fails only when it is gone already, which is what is wanted.
        let _ = kill(id, Signal::SIGTERM);
        let deadline = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            pause(Duration::from_millis(10));
        }
    }
}

/// Writes a configuration file and returns its path.
pub(crate) fn configuration(name: &str, text: &str) -> Result<PathBuf> {
    fs::create_dir_all(DIRECTORY)?;
    let path = Path::new(DIRECTORY).join(name);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// The first line that a program prints about its version, on whichever output.
pub(crate) fn first_line(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program).arg(argument).output().with_context(|| format!("run {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}
