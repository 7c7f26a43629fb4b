//! `spectrum quickstart`: everything in front of a built-in origin, on this machine's loopback.

use std::{env, fs, process::ExitCode, sync::Arc};

use serde_json::Value;

use super::output;
use crate::{
    daemon::{self, Origin, QUICKSTART_CONFIG, Running, Source, View, Wishes},
    dataplane::{diagnostics::KernelLog, lock::RUN_DIRECTORY},
};

/// `SPECTRUM` stands for the way to call this program.
const WELCOME: &str = "
Spectrum stands in front of a built-in origin, on loopback alone. Try, in another terminal:

  curl http://127.77.0.1:8080/                              one port
  curl http://127.77.0.1:9004/                              a range: edge 9000-9009 is origin 19000-19009
  curl http://127.77.0.2:4321/                              any port, 1 to 65535, of one address
  curl --max-time 2 --interface 127.66.0.1 http://127.77.0.1:8080/    a blocked source: dropped before any socket
  curl --max-time 2 --interface 127.66.0.1 http://127.77.0.2:80/      the same source, where ip_firewall is off
  curl --max-time 2 http://127.77.0.1:8081/                 a closed port of a pool address: dropped
  SPECTRUM status
  SPECTRUM why 127.66.0.1 --to 127.77.0.1:8080

Ctrl-C ends it and leaves no trace. What it sees while you try:

";

pub(super) async fn quickstart() -> anyhow::Result<ExitCode> {
    daemon::require()?;
    let _state = State::fresh();
    let _origin = Origin::start()?;
    let source = Source::Text { text: QUICKSTART_CONFIG, name: "quickstart.toml" };
    daemon::run_with(source, KernelLog::Off, &Wishes::default(), show).await?;
    output::line("Everything is as it was before.\n");
    Ok(ExitCode::SUCCESS)
}

/// What the quickstart keeps while it runs: rules that are made meanwhile. It goes with it; what a killed one left goes at
/// the next start.
struct State;

impl State {
    /// `state_dir` of the quickstart's configuration.
    const DIRECTORY: &str = "/run/spectrum/quickstart.state";

    fn fresh() -> Self {
        let _ = fs::remove_dir_all(Self::DIRECTORY);
        Self
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Self::DIRECTORY);
        // Unless another instance is in there.
        let _ = fs::remove_dir(RUN_DIRECTORY);
    }
}

/// Prints what to try, and from then on what happens.
fn show(running: &Running) {
    output::line(&WELCOME.replace("SPECTRUM", &called()));
    let mut events = running.events().subscribe();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Some(line) = event_line(&event) {
                output::line(&line);
            }
        }
    });
    tokio::spawn(show_samples(running.view().clone()));
}

/// How this program was called, and can be called again: a fresh build is on nobody's PATH.
fn called() -> String {
    let program = env::args_os().next().map_or("spectrum".into(), |program| program.to_string_lossy().into_owned());
    if env::var_os("SUDO_USER").is_some() { format!("sudo {program}") } else { program }
}

async fn show_samples(view: Arc<View>) {
    let mut samples = view.samples();
    // A reader that falls behind misses some: the counters still tell.
    while let Some(sample) = samples.next().await {
        if sample.drops > 0 {
            output::line(&format!("dropped     {}\n", view.describe(&sample)));
        }
    }
}

/// A connection event in one line for people. What the node itself did stands in the log, which goes to the same screen.
fn event_line(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    event.get("ClientIP")?;
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| event.get(key).and_then(Value::as_i64).unwrap_or_default();
    let kind = text("Event");
    let client = format!("{}:{}", text("ClientIP"), number("ClientPort"));
    let origin = format!("{}:{}", text("OriginIP"), number("OriginPort"));
    Some(match kind.as_str() {
        "connect" => format!("connect     {client} -> origin {origin}\n"),
        "disconnect" => format!(
            "disconnect  {client}: status {}, {} bytes from the client, {} from the origin\n",
            number("Status"),
            number("ClientBytes"),
            number("OriginBytes")
        ),
        _ => format!("{kind:<11} {client}: status {}\n", number("Status")),
    })
}
