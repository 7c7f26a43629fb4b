//! The command line: one file per verb. Data goes to stdout, everything else to stderr.
//!
//! Exit codes: 0, 1 (refused or not ready), 2 (usage; clap's own).

mod check;
mod control;
mod doctor;
mod events;
mod instance;
mod load;
mod operator;
mod output;
mod quickstart;
mod reload;
mod rule;
mod run;
mod status;
mod top;
mod unload;
mod unwrap;
mod upgrade;
mod why;

use std::{net::IpAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{dataplane::diagnostics::KernelLog, model};
pub use output::Output;

/// DDoS protection, access rules and acceleration in front of any TCP port.
#[derive(Debug, Parser)]
#[command(name = "spectrum", version, disable_help_subcommand = true)]
pub struct Cli {
    /// How to write data.
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground: load or adopt the programs, attach, serve.
    ///
    /// SIGTERM drains and stops, a second one stops at once; SIGHUP applies the edited file.
    Run {
        #[command(flatten)]
        file: ConfigFile,
        /// What the kernel programs themselves log.
        #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
        kernel_log: KernelLog,
        #[command(flatten)]
        force: Force,
    },
    /// Look at a configuration without touching anything: every error at once.
    Check(ConfigFile),
    /// Load and attach the programs without a daemon: they filter until `unload`.
    Load {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        force: Force,
    },
    /// Apply the edited file to the running daemon: whole, or not at all.
    Reload {
        #[command(flatten)]
        instance: InstanceName,
        #[command(flatten)]
        force: Force,
    },
    /// Let the program that is installed now take over from the running daemon: no connection is refused or reset.
    ///
    /// Open connections have the drain time to finish. If anything fails, the daemon goes on as before.
    Upgrade {
        #[command(flatten)]
        instance: InstanceName,
        /// The program to start, by its absolute path. Without it: what stands now where the daemon was started from.
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        #[command(flatten)]
        force: Force,
    },
    /// Take programs, maps, pins and routes away.
    Unload(InstanceName),
    /// What is attached where, what is served, and what was counted.
    Status {
        #[command(flatten)]
        instance: InstanceName,
        /// Wait this long for the daemon to be ready.
        #[arg(long, value_parser = duration, default_value = "0s", value_name = "DURATION")]
        wait: Duration,
    },
    /// The verdict that a packet would get now, by the kernel program itself.
    Why(Why),
    /// What happens to connections and sampled packets, as it happens.
    Events(events::Events),
    /// Access rules while the daemon runs: in force at once, and kept over restarts.
    Rule {
        #[command(subcommand)]
        verb: rule::Verb,
        #[command(flatten)]
        instance: InstanceName,
    },
    /// Packets, connections, drops and the top sources, live.
    Top(top::Top),
    /// Beside an origin that reads no PROXY header: takes it off, and connects to the service in the client's name.
    ///
    /// SIGTERM drains and stops, a second one stops at once.
    Unwrap(unwrap::Unwrap),
    /// What `unwrap` starts to clean up after itself.
    #[command(name = unwrap::KEEPER, hide = true)]
    UnwrapKeeper,
    /// What works here, what is degraded, and what to do about it.
    Doctor,
    /// A working example on this machine's loopback, until Ctrl-C.
    Quickstart,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/spectrum/spectrum.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct InstanceName {
    /// Which instance; without it, the only one that is there, else `default`.
    #[arg(long, value_name = "NAME")]
    instance: Option<model::Instance>,
}

#[derive(Debug, Args)]
struct Force {
    /// Even if it cuts off the connection that you are on.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Why {
    /// Where the packet comes from.
    address: IpAddr,
    /// Where it goes: EDGE:PORT, an IPv6 address in brackets. Without it: every application.
    #[arg(long, value_name = "EDGE:PORT")]
    to: Option<std::net::SocketAddr>,
    /// A datagram instead of a SYN.
    #[arg(long)]
    udp: bool,
    #[command(flatten)]
    instance: InstanceName,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::telemetry::logging::init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::refused(&error.into()),
    };
    let output = cli.output;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Run { file, kernel_log, force } => run::run(&file.config, kernel_log, force.force).await,
            Command::Check(file) => check::check(&file.config, output).await,
            Command::Load { file, force } => load::load(&file.config, force.force, output).await,
            Command::Reload { instance, force } => reload::reload(instance.instance, force.force, output).await,
            Command::Upgrade { instance, binary, force } => {
                upgrade::upgrade(instance.instance, binary, force.force, output).await
            }
            Command::Unload(instance) => unload::unload(instance.instance, output).await,
            Command::Status { instance, wait } => status::status(instance.instance, wait, output).await,
            Command::Why(why) => why::why(&why, output).await,
            Command::Events(asked) => events::events(asked, output).await,
            Command::Rule { verb, instance } => rule::rule(verb, instance.instance, output).await,
            Command::Top(asked) => Box::pin(top::top(asked, output)).await,
            Command::Unwrap(asked) => Box::pin(unwrap::unwrap(asked)).await,
            Command::UnwrapKeeper => unwrap::keep().await,
            Command::Doctor => doctor::doctor(output).await,
            Command::Quickstart => Box::pin(quickstart::quickstart()).await,
        }
    });
    result.unwrap_or_else(|error| output::refused(&error))
}

/// `10s`, `500ms`, `2m`.
fn duration(s: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(s)
}
