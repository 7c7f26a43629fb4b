//! The daemon: what starts in which order, what it listens to while it runs, and how it ends.
//!
//! Control only: traffic has threads of its own (`proxy`), and this one never touches a connection.

mod calls;
mod cut_off;
mod describe;
mod flood_event;
mod geo;
mod logins;
mod mitigation;
mod objects;
mod protection;
mod quickstart;
mod reload;
mod rules;
pub mod sample_event;
mod samples;
mod servers;
mod signals;
mod spared;
mod ssh;
mod start;
mod status;
mod stream;
mod view;
mod witness;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use sd_notify::NotifyState;
use tokio::time::Instant;

pub use self::{
    calls::{Asked, Call, Wishes},
    cut_off::{CutOff, OPERATOR, Standing},
    geo::{DatabaseStatus, GeoReport},
    quickstart::{CONFIG as QUICKSTART_CONFIG, Origin},
    reload::Reloaded,
    rules::{Refusal, RuleAnswer, RuleRequest, with_kept_rules},
    samples::SampleReader,
    start::Running,
    status::{AppStatus, DaemonStatus, Flood, Protection, RuleStatus},
    stream::{Stream, Wanted},
    view::View,
};
use self::{
    signals::{Signal, Signals},
    start::start,
};
use crate::{
    config::{self, Config},
    dataplane::{diagnostics::KernelLog, probe},
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
    ready(&running);
    loop {
        tokio::select! {
            // Whoever asks comes first, and what the kernel shows of an attack last: that never ends while it goes on.
            biased;
            signal = signals.next() => match signal {
                Signal::Reload => drop(Box::pin(running.reload(None)).await),
                Signal::Stop => break,
            },
            () = running.workers.failed() => {
                log::error!("a worker has ended by a bug of this program: stopping, so that the service manager starts it anew");
                running.failed = true;
                break;
            }
            call = rules::due(&running.book, &mut running.calls) => match call {
                Some(Call::Rule(asked)) => running.answer(asked).await,
                Some(Call::Reload(asked)) => running.answer_reload(asked).await,
                None => running.end_rules().await,
            },
            () = running.protection.due() => running.protect(),
            () = running.auto.due() => running.mitigate().await,
            () = running.interfaces.changed() => running.follow().await,
            () = running.diagnostics.pass_on() => {}
            sample = running.samples.next() => running.see(sample).await,
        }
    }
    Box::pin(stop(*running, signals)).await
}

/// Drains, then takes away what `run` brought.
async fn stop(mut running: Running, mut signals: Signals) -> anyhow::Result<()> {
    running.view.set_ready(false);
    // Who asks for a change of rules now is told that it is too late.
    running.calls.close();
    while running.calls.try_recv().is_ok() {}
    let deadline = running.drain;
    notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    log::info!(
        "stopping: open connections have {} to finish; a second signal ends them at once",
        humantime::format_duration(deadline)
    );
    let started = Instant::now();
    let report = tokio::select! {
        report = running.workers.drain(deadline) => report,
        () = signals.stop() => running.workers.cut().await,
    };
    log::info!("drained in {:.1} s, {} connections cut", started.elapsed().as_secs_f64(), report.cut);
    let failed = running.failed || !report.orderly;
    Box::pin(running.end_auto_rules()).await;
    Box::pin(running.end()).await?;
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

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("the service manager was not told: {error}");
    }
}
