//! The predecessor's side of an upgrade: starts a successor, gives it everything, and goes on as before if that fails.

use std::{path::PathBuf, time::Duration};

use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Refusal, Running, Source,
    calls::{Asked, Call, Wishes},
};
use crate::{
    handover::{Down, Estate, FromPredecessor, FromSuccessor, Notes, Received, Successor, VERSION},
    service::notify,
    state::Provisional,
};

/// How long a started program may take for its first word. One that is no `spectrum` never says it.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// Until it is about to change something: databases are read, for which there is a minute, and programs verified.
const PREPARING: Duration = Duration::from_secs(100);
/// Until it serves; meanwhile nobody accepts, and clients wait.
const CHANGING: Duration = Duration::from_secs(30);
/// How long a killed process takes to be gone.
const GONE: Duration = Duration::from_secs(10);

/// What an upgrade is asked for with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpgradeRequest {
    /// The program to start. None: what stands now where this one was started from.
    pub binary: Option<PathBuf>,
    pub wishes: Wishes,
}

/// What an upgrade did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The process that serves now, and the version of its program.
    pub pid: u32,
    pub version: String,
    /// The process that drains, and for how long at most.
    pub predecessor: u32,
    pub drain: String,
}

/// An upgrade that is under way.
pub(super) struct Upgrade {
    wishes: Wishes,
    answer: oneshot::Sender<Result<Upgraded, Refusal>>,
    successor: Successor,
    stage: Stage,
    deadline: Instant,
    version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Started,
    Preparing,
    /// It changes maps, routes and links.
    Changing,
    /// Everything is its own, as soon as it says so.
    Given,
}

/// What became of the successor.
pub(super) enum Heard {
    Word(FromSuccessor),
    /// Why nothing more is to be expected.
    Lost(String),
}

/// Why there is no upgrade.
struct Why {
    message: String,
    report: Option<String>,
}

impl Upgrade {
    /// Whether the successor may be writing: then nobody else does.
    pub(super) fn is_changing(&self) -> bool {
        self.stage >= Stage::Changing
    }

    async fn hear(&self) -> Heard {
        match timeout_at(self.deadline, self.successor.channel.receive()).await {
            Ok(Ok(Some(Received { word, .. }))) => Heard::Word(word),
            Ok(Ok(None)) => Heard::Lost("it ended before it served; the log has its last words".to_owned()),
            Ok(Err(error)) => Heard::Lost(format!("what it says makes no sense: {error}")),
            Err(_) => Heard::Lost(self.stage.late().to_owned()),
        }
    }
}

impl Stage {
    const fn late(self) -> &'static str {
        match self {
            Self::Started => "it says nothing, as if it were no `spectrum` that can take over",
            Self::Preparing => "it does not get ready",
            Self::Changing | Self::Given => "it does not come to an end with its changes",
        }
    }
}

/// The next word of the successor, where there is one.
pub(super) async fn word(upgrade: Option<&Upgrade>) -> Heard {
    match upgrade {
        Some(upgrade) => upgrade.hear().await,
        None => std::future::pending().await,
    }
}

impl Running {
    /// Starts a successor, whose words are followed from then on.
    pub(super) fn begin_upgrade(&mut self, asked: Asked<UpgradeRequest, Upgraded>) {
        let Asked { request, answer } = asked;
        match self.start_successor(&request) {
            Ok(successor) => {
                log::info!("upgrade: process {} is started", successor.pid);
                notify(&[NotifyState::Status("upgrading")]);
                let (stage, deadline) = (Stage::Started, Instant::now() + FIRST_WORD);
                let wishes = request.wishes;
                self.upgrade = Some(Upgrade { wishes, answer, successor, stage, deadline, version: String::new() });
            }
            Err(message) => {
                log::error!("not upgraded: {message}");
                let _ = answer.send(Err(refusal(Why { message, report: None })));
            }
        }
    }

    fn start_successor(&self, request: &UpgradeRequest) -> Result<Successor, String> {
        if matches!(self.source, Source::Text { .. }) {
            return Err("a quickstart is not upgraded: end it and start it anew".to_owned());
        }
        if std::process::id() == 1 {
            return Err(
                "this is the first process of a container, and when it ends the kernel ends every other one there: \
                        start the container with an init in front (`--init` of docker and podman), or replace it as a \
                        whole"
                    .to_owned(),
            );
        }
        let program = match &request.binary {
            Some(path) if path.is_absolute() => self.program.at(path),
            Some(path) => return Err(format!("{} is not an absolute path", path.display())),
            None => self.program.clone(),
        };
        program.start().map_err(|error| format!("{:#}", anyhow::Error::new(error)))
    }

    /// Takes the next step. Whether the successor has taken over.
    pub(super) async fn step(&mut self, heard: Heard) -> bool {
        let Some(mut upgrade) = self.upgrade.take() else { return false };
        let why = match self.try_step(&mut upgrade, heard).await {
            Ok(None) => {
                self.upgrade = Some(upgrade);
                return false;
            }
            Ok(Some(pid)) => {
                self.hand_over(upgrade, pid);
                return true;
            }
            Err(why) => why,
        };
        log::error!("not upgraded, everything stays as it was: {}", why.message);
        let answer = self.take_back(upgrade).await;
        let _ = answer.send(Err(refusal(why)));
        false
    }

    /// The process that serves now, once it does.
    async fn try_step(&mut self, upgrade: &mut Upgrade, heard: Heard) -> Result<Option<u32>, Why> {
        let word = match heard {
            Heard::Word(word) => word,
            Heard::Lost(message) => return Err(Why { message, report: None }),
        };
        match (upgrade.stage, word) {
            (Stage::Started, FromSuccessor::Hello { version: VERSION, program }) => {
                upgrade.version = program;
                self.estate(&upgrade.wishes)?.send(&upgrade.successor.channel)?;
                upgrade.go(Stage::Preparing, PREPARING);
            }
            (Stage::Started, FromSuccessor::Hello { version, program }) => {
                return Err(Why {
                    message: format!(
                        "spectrum {program} takes over by words of version {version}, this one speaks version {VERSION}: \
                         restart instead"
                    ),
                    report: None,
                });
            }
            (Stage::Preparing, FromSuccessor::Changing) => {
                // Nobody may be accepted by the old table while the kernel has the new one already.
                if !self.workers.pause().await {
                    return Err(Why { message: "a worker of this process does not let go".to_owned(), report: None });
                }
                upgrade.successor.channel.send(&FromPredecessor::Go)?;
                upgrade.go(Stage::Changing, CHANGING);
            }
            (Stage::Changing, FromSuccessor::Ready) => {
                upgrade.successor.channel.send(&FromPredecessor::Yours(self.protection.state()))?;
                upgrade.go(Stage::Given, CHANGING);
            }
            (Stage::Given, FromSuccessor::Serving { pid }) => return Ok(Some(pid)),
            (_, FromSuccessor::Failed { why, report }) => return Err(Why { message: why, report }),
            (_, word) => return Err(Why { message: format!("it says {word:?} out of turn"), report: None }),
        }
        Ok(None)
    }

    /// What there is to take over.
    fn estate(&self, wishes: &Wishes) -> Result<Estate, Why> {
        let listeners = self.listening.iter().map(std::os::fd::OwnedFd::try_clone).collect::<Result<_, _>>()?;
        let notes = Notes {
            pid: std::process::id(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.node.instance.to_string(),
            auto_rules: self.auto_rules_written(),
            operators: self.operators(wishes),
            down: self.down(),
        };
        let draining = self.predecessors.iter().map(|one| Ok((one.pid, one.channel.duplicate()?)));
        let draining = draining.collect::<std::io::Result<_>>()?;
        Ok(Estate { lock: Some(self.kernel.lock()?), listeners, metrics: self.servers.metrics()?, draining, notes })
    }

    /// Origins that are left out.
    fn down(&self) -> Vec<Down> {
        let desired = self.view.desired();
        let origins = desired.applications.iter().flat_map(|app| {
            let down = self.view.origins(app.id).into_iter().filter(|origin| !origin.is_up());
            down.map(|origin| Down { application: app.id.to_string(), origin: origin.to_string() })
        });
        origins.collect()
    }

    fn hand_over(&mut self, upgrade: Upgrade, pid: u32) {
        let Upgrade { answer, successor, version, .. } = upgrade;
        log::info!("upgraded: process {pid} serves, spectrum {version}");
        // This process speaks for the service until it says that another one does (sd_notify(3), MAINPID).
        notify(&[NotifyState::MainPid(pid), NotifyState::Ready, NotifyState::Status("serving")]);
        let _ = successor.channel.send(&FromPredecessor::Known);
        self.view.handed_over(pid);
        self.successor = Some(successor.channel);
        let drain = humantime::format_duration(self.drain).to_string();
        let _ = answer.send(Ok(Upgraded { pid, version, predecessor: std::process::id(), drain }));
    }

    /// Ends the successor and puts everything in order that it may have changed.
    async fn take_back(&mut self, upgrade: Upgrade) -> oneshot::Sender<Result<Upgraded, Refusal>> {
        let Upgrade { answer, successor, stage, .. } = upgrade;
        successor.kill();
        if timeout(GONE, successor.ended()).await.is_err() {
            log::error!("process {} does not end", successor.pid);
        }
        self.servers.tidy();
        if stage >= Stage::Changing {
            self.restore().await;
        }
        self.workers.open();
        notify(&[NotifyState::Status("serving")]);
        answer
    }

    async fn restore(&mut self) {
        let node = self.node.clone();
        let desired = self.view.desired();
        let mut failed = Vec::new();
        let geo = self.kernel.set_geo(&self.geo.table, node.geo.memory).map(drop);
        let maps = self.bring_about(&desired, &node, true).await.map(|report| self.view.applied(desired, &report));
        let listening = self.listening.first().map_or(Ok(()), |listener| self.kernel.listen(listener));
        let mode = self.protection.tell_again(&mut self.kernel);
        failed.extend([geo, maps, listening, mode].into_iter().filter_map(Result::err).map(anyhow::Error::new));
        let kept = self.assigned.keep().map(Provisional::confirm);
        failed.extend(kept.err().map(anyhow::Error::new));
        failed.extend(self.servers.come_back().err());
        let announced = self.servers.socket().map_or(Ok(()), |socket| self.kernel.announce(socket));
        failed.extend(announced.err().map(anyhow::Error::new));
        for error in failed {
            log::error!("after the upgrade that failed: {error:#}");
            self.view.problem(Some(format!("{error:#}")));
        }
    }

    /// Ends an upgrade because this process ends.
    pub(super) fn abandon_upgrade(&mut self) {
        if let Some(Upgrade { successor, answer, .. }) = self.upgrade.take() {
            successor.kill();
            let message = "this process was told to stop".to_owned();
            let _ = answer.send(Err(refusal(Why { message, report: None })));
        }
    }
}

/// Answers who asks for a change while an upgrade is under way.
pub(super) fn refuse(call: Call) {
    const MESSAGE: &str = "an upgrade is under way: ask again when it has come to its end";
    let refusal = Refusal::new(409, MESSAGE);
    match call {
        Call::Rule(asked) => drop(asked.answer.send(Err(refusal))),
        Call::Reload(asked) => drop(asked.answer.send(Err(refusal))),
        Call::Upgrade(asked) => drop(asked.answer.send(Err(refusal))),
    }
}

impl Upgrade {
    fn go(&mut self, stage: Stage, patience: Duration) {
        self.stage = stage;
        self.deadline = Instant::now() + patience;
    }
}

fn refusal(why: Why) -> Refusal {
    let Why { message, report } = why;
    let as_before = format!("not upgraded, process {} serves on as before", std::process::id());
    match report {
        Some(_) => Refusal { report, ..Refusal::new(409, as_before) },
        None => Refusal::new(409, format!("{as_before}: {message}")),
    }
}

impl From<std::io::Error> for Why {
    fn from(error: std::io::Error) -> Self {
        Self { message: format!("it could not be given what there is: {error}"), report: None }
    }
}
