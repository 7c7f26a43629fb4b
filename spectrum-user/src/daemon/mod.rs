//! The daemon: what starts in which order, what it listens to while it runs, and how it ends.
//!
//! Control only: traffic has threads of its own (`proxy`), and this one never touches a connection.

mod acme;
mod calls;
mod cut_off;
mod describe;
mod flood_event;
mod geo;
mod logins;
mod mitigation;
mod objects;
mod operators;
mod protection;
mod quickstart;
mod reload;
mod responders;
mod rules;
mod running;
pub mod sample_event;
mod samples;
mod servers;
mod signals;
mod sockets;
mod spared;
mod ssh;
mod start;
mod status;
mod store;
mod stream;
mod succession;
mod tls;
mod upgrade;
mod view;
mod witness;

use std::{convert::Infallible, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use futures_util::future::join;
use sd_notify::NotifyState;
use tokio::time::{Instant, interval, timeout};

pub use self::{
    acme::Hosts,
    calls::{Asked, Call, Wishes},
    cut_off::{Blocked, CutOff, OPERATOR, Standing},
    geo::{DatabaseStatus, GeoReport},
    quickstart::{CONFIG as QUICKSTART_CONFIG, Origin},
    reload::Reloaded,
    responders::respond,
    rules::{Refusal, RuleAnswer, RuleRequest, with_kept_rules},
    running::Running,
    samples::SampleReader,
    status::{
        AcmeStatus, AnswerStatus, AppStatus, CertificateStatus, DaemonStatus, Flood, OriginStatus, Predecessor,
        Protection, RuleStatus,
    },
    stream::{HANDED_OVER, Stream, Wanted},
    tls::certificates,
    upgrade::{UpgradeRequest, Upgraded},
    view::View,
};
use self::{
    running::Leaving,
    signals::{Signal, Signals},
    start::start,
    succession::Draining,
};
use crate::{
    config::{self, Config},
    dataplane::{diagnostics::KernelLog, probe},
    handover::{Channel, FromPredecessor},
    proxy::Telemetry,
    service::{self, notify},
    state,
};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    /// A text of the program's own.
    Text {
        text: &'static str,
        name: &'static str,
    },
}

impl Source {
    fn read(&self) -> anyhow::Result<Config> {
        let config = match self {
            Self::File(path) => config::load(path, &state::host_addresses()?)?,
            Self::Text { text, name } => config::parse(text, name)?,
        };
        for note in &config.notes {
            log::info!("{}", note.to_string().trim_end());
        }
        Ok(config)
    }
}

/// Serves until a signal ends it.
pub async fn run(source: Source, kernel_log: KernelLog, wishes: &Wishes) -> anyhow::Result<()> {
    run_with(source, kernel_log, wishes, |_| ()).await
}

/// As [`run`]; `ready` is called once everything serves.
pub async fn run_with(
    source: Source,
    kernel_log: KernelLog,
    wishes: &Wishes,
    ready: impl FnOnce(&Running),
) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("listen to signals")?;
    // Boxed, like a reload and the end: this future would be as large as the largest of them for as long as it serves.
    let mut running = Box::new(Box::pin(start(source, kernel_log, wishes)).await?);
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    store::keep(&running.listening);
    ready(&running);
    loop {
        let upgrades = running.upgrade.is_some();
        let changes = running.upgrade.as_ref().is_some_and(upgrade::Upgrade::is_changing);
        tokio::select! {
            // Whoever asks comes first, and what the kernel shows of an attack last: that never ends while it goes on.
            biased;
            signal = signals.next() => match signal {
                Signal::Reload if upgrades => log::error!("not reloaded: an upgrade is under way"),
                Signal::Reload => drop(Box::pin(running.reload(None)).await),
                Signal::Stop => break,
            },
            heard = upgrade::word(running.upgrade.as_ref()) => {
                if Box::pin(running.step(heard)).await {
                    return Box::pin(leave(*running, signals)).await;
                }
            }
            heard = succession::draining(&mut running.predecessors) => running.view.predecessors(heard),
            () = running.workers.failed() => {
                log::error!("a worker has ended by a bug of this program: stopping, so that the service manager starts it anew");
                running.failed = true;
                break;
            }
            call = rules::due(&running.book, &mut running.calls, !upgrades) => match call {
                Some(call) if upgrades => upgrade::refuse(call),
                Some(Call::Rule(asked)) => running.answer(asked).await,
                Some(Call::Reload(asked)) => running.answer_reload(asked).await,
                Some(Call::Upgrade(asked)) => running.begin_upgrade(asked),
                None => running.end_rules().await,
            },
            () = running.protection.due(), if !changes => running.protect(),
            () = running.auto.due(), if !upgrades => running.mitigate().await,
            () = running.looks.due(), if !upgrades => Box::pin(running.give_back()).await,
            () = running.interfaces.changed(), if !upgrades => running.follow().await,
            () = running.diagnostics.pass_on() => {}
            sample = running.samples.next(), if !changes => running.see(sample).await,
        }
    }
    Box::pin(stop(*running, signals)).await
}

/// Drains, and leaves everything to the successor.
async fn leave(running: Running, mut signals: Signals) -> anyhow::Result<()> {
    let Leaving { servers, telemetry, mut workers, successor, drain } = running.leave().await;
    log::info!("open connections have {} to finish", humantime::format_duration(drain));
    let report = tokio::select! {
        report = workers.leave(drain) => report,
        () = signals.stop() => workers.cut().await,
        never = tell(&telemetry, successor.as_ref()) => match never {},
    };
    log::info!("drained, {} connections cut", report.cut);
    telemetry.events.close();
    servers.answered().await;
    // A successor that stops waits for the end of this channel, and nothing of ours outlives it.
    drop(successor);
    if report.orderly { Ok(()) } else { Err(anyhow!("a worker ended by a bug of this program; see the log above")) }
}

/// Tells a successor how many connections are left, for as long as there is one to tell.
async fn tell(telemetry: &Telemetry, successor: Option<&Channel>) -> Infallible {
    let mut looks = interval(Duration::from_secs(1));
    if let Some(successor) = successor {
        loop {
            looks.tick().await;
            let connections = telemetry.metrics.open();
            if successor.send(&FromPredecessor::Draining { connections }).is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}

/// Waits until no predecessor is left, for as long as this.
async fn drained(predecessors: &mut Vec<Draining>, view: &View, patience: Duration) {
    let all = async {
        while !predecessors.is_empty() {
            view.predecessors(succession::draining(predecessors).await);
        }
    };
    let _ = timeout(patience, all).await;
}

/// How long a predecessor that was told to end may take: it cuts what it has left, and writes its events.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Ends in good order, however long that takes: `drain` is the operator's to choose.
async fn stop(running: Running, signals: Signals) -> anyhow::Result<()> {
    tokio::select! {
        biased;
        result = drain_and_end(running, signals) => result,
        never = service::ask_for_time() => match never {},
    }
}

/// Drains, then takes away what `run` brought.
async fn drain_and_end(mut running: Running, mut signals: Signals) -> anyhow::Result<()> {
    running.abandon_upgrade();
    // After a bug too: what is left in the sockets is the next process's, as it would be had this one been killed.
    let mut restarts = store::is_followed(running.failed).await;
    if !restarts {
        store::forget();
    }
    // No queue is left in which nobody takes anything.
    running.listening.clear();
    running.view.set_ready(false);
    // Who asks for a change of rules now is told that it is too late.
    running.calls.close();
    while running.calls.try_recv().is_ok() {}
    let deadline = running.drain;
    notify(&[NotifyState::Stopping, NotifyState::Status("draining"), service::MORE_TIME]);
    log::info!(
        "stopping: open connections have {} to finish; a second signal ends them at once",
        humantime::format_duration(deadline)
    );
    let started = Instant::now();
    // Who waits in the queue is served by this process, in a restart too: the next one begins only when this one has ended,
    // and nobody should wait for that who is here already.
    let report = tokio::select! {
        (report, ()) = join(
            running.workers.drain(deadline),
            drained(&mut running.predecessors, &running.view, deadline),
        ) => report,
        () = signals.stop() => {
            succession::dismiss(&mut running.predecessors);
            running.workers.cut().await
        }
    };
    // What the kernel holds is theirs as well, and a service manager kills them when this process has ended.
    succession::dismiss(&mut running.predecessors);
    drained(&mut running.predecessors, &running.view, LAST_WORDS).await;
    log::info!("drained in {:.1} s, {} connections cut", started.elapsed().as_secs_f64(), report.cut);
    let failed = running.failed || !report.orderly;
    Box::pin(running.end_auto_rules()).await;
    // It may have become a stop meanwhile.
    if restarts && !store::is_followed(failed).await {
        store::forget();
        restarts = false;
    }
    Box::pin(running.end(restarts)).await?;
    if failed { Err(anyhow!("a worker ended by a bug of this program; see the log above")) } else { Ok(()) }
}

/// Refuses to start where something is missing, in words that name it.
pub fn require() -> anyhow::Result<()> {
    probe::required().map_err(|missing| {
        let lines: Vec<String> = missing
            .into_iter()
            .map(|finding| format!("{}: {}; {}", finding.what, finding.detail, finding.advice.unwrap_or_default()))
            .collect();
        anyhow!("{}", lines.join("\n       "))
    })
}
