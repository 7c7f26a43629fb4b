//! `spectrum top`: who gets how much, what is dropped and why, and who sends most, second by second.
//!
//! Plain terminal sequences: a table that is written anew each second needs no library of widgets.

mod look;
mod looks;
mod networks;
mod rates;
mod screen;
mod show;
mod sources;

use std::{io::IsTerminal as _, process::ExitCode, time::Duration};

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use self::{look::Looker, rates::Rates, screen::Screen, sources::Sources};
use super::{
    InstanceName, duration,
    events::Source,
    instance::chosen,
    output::{self, Output},
};
use crate::daemon::Wanted;

#[derive(Debug, Args)]
pub(super) struct Top {
    /// Show one interval and end.
    #[arg(long)]
    once: bool,
    /// How long what is shown is measured.
    #[arg(long, value_parser = duration, default_value = "1s", value_name = "DURATION")]
    interval: Duration,
    #[command(flatten)]
    instance: InstanceName,
}

/// Shorter than that nothing can be read.
const SHORTEST: Duration = Duration::from_millis(100);
/// Samples that passed are wanted, too.
const WANTED: Wanted = Wanted { passed: true, packets: false, only_samples: true };

pub(super) async fn top(asked: Top, output: Output) -> anyhow::Result<ExitCode> {
    let instance = chosen(asked.instance.instance)?;
    let live = !asked.once && matches!(output, Output::Table);
    anyhow::ensure!(
        !live || std::io::stdout().is_terminal(),
        "standard output is no terminal: add --once, or --output json for a line each second"
    );
    let mut source = Source::find(&instance, WANTED).await?;
    let looker = Looker::open(&instance)?;
    let mut sources = Sources::default();
    let mut before = looker.look().await?;
    let mut ticks = interval(asked.interval.max(SHORTEST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut ends = Ends::listen()?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut screen = live.then(Screen::enter);
    let mut rates: Option<Rates> = None;
    loop {
        tokio::select! {
            line = source.next(&instance) => match line? {
                Some(line) => sources.add(&line),
                None => source = Source::find(&instance, WANTED).await?,
            },
            _ = ticks.tick() => {
                let now = looker.look().await?;
                let seen = Rates::between(&before, &now, &mut sources);
                before = now;
                match (&mut screen, output) {
                    (Some(screen), _) => screen.draw(&show::lines(&seen)),
                    (None, Output::Json) if asked.once => output::json(&seen)?,
                    (None, Output::Json) => output::line(&format!("{}\n", serde_json::to_string(&seen)?)),
                    (None, Output::Table) => output::line(&(show::lines(&seen).join("\n") + "\n")),
                }
                if asked.once {
                    return Ok(ExitCode::SUCCESS);
                }
                rates = Some(seen);
            }
            _ = resized.recv() => {
                if let (Some(screen), Some(rates)) = (&mut screen, &rates) {
                    screen.draw(&show::lines(rates));
                }
            }
            () = ends.next() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Whatever asks a program in a terminal to end: the terminal must be as it was before.
struct Ends([tokio::signal::unix::Signal; 4]);

impl Ends {
    fn listen() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        let [interrupt, terminate, hangup, quit] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?, quit?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
