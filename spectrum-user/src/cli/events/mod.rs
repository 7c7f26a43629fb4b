//! `spectrum events -f`: what happens to connections, to the node and to sampled packets, as it happens.
//!
//! The daemon tells; where none runs, the kernel's ring of samples is read here.

mod filter;
mod pcap;
mod ring;
mod row;
mod source;

use std::{
    io::{IsTerminal as _, Write as _},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use ipnet::IpNet;
use serde_json::Value;

pub(super) use self::source::Source;
use self::{filter::Filter, pcap::Capture};
use super::{InstanceName, instance::chosen, output::Output};
use crate::daemon::Wanted;

#[derive(Debug, Args)]
pub(super) struct Events {
    /// From now on, until Ctrl-C. What was before is in the file of `[events]`.
    #[arg(short, long, required = true)]
    follow: bool,
    /// Only of this application: its id or its hostname.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Only with this reason, of a verdict or of how a connection ended.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only from this address or prefix.
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    source: Option<IpNet>,
    /// Sampled packets that passed or were answered, too.
    #[arg(long)]
    passed: bool,
    /// Write the sampled packets there as pcapng, with their reasons as comments; `-`: to standard output, and nothing else.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// End after so many.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    instance: InstanceName,
}

/// An address is a prefix of all its bits.
fn prefix(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| "neither an address nor a prefix".to_owned())
}

pub(super) async fn events(asked: Events, output: Output) -> anyhow::Result<ExitCode> {
    let instance = chosen(asked.instance.instance.clone())?;
    let mut printer = Printer::new(&asked, output)?;
    let only_samples = printer.output.is_none();
    let wanted = Wanted { passed: asked.passed, packets: asked.pcap.is_some(), only_samples };
    let mut source = Source::find(&instance, wanted).await?;
    loop {
        let Some(line) = source.next(&instance).await? else {
            source = Source::find(&instance, wanted).await?;
            continue;
        };
        if !printer.print(&line)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Where lines go.
struct Printer {
    filter: Filter,
    /// None: standard output belongs to the packets.
    output: Option<Output>,
    capture: Option<Capture>,
    left: Option<u64>,
}

impl Printer {
    fn new(asked: &Events, output: Output) -> anyhow::Result<Self> {
        let to_stdout = asked.pcap.as_ref().is_some_and(|path| path.as_os_str() == "-");
        anyhow::ensure!(
            !to_stdout || !std::io::stdout().is_terminal(),
            "packets are no text for a terminal: name a file, or pipe them, as in `--pcap - | tcpdump -r -`"
        );
        Ok(Self {
            filter: Filter::new(asked.app.clone(), asked.reason.clone(), asked.source),
            output: (!to_stdout).then_some(output),
            capture: asked.pcap.as_deref().map(Capture::create).transpose()?,
            left: asked.count,
        })
    }

    /// Prints a line if it is asked for. Whether to go on.
    fn print(&mut self, line: &str) -> anyhow::Result<bool> {
        let Ok(mut event) = serde_json::from_str::<Value>(line) else { return Ok(true) };
        if row::is_handed_over(&event) {
            eprintln!("{}", row::handed_over(&event));
            return Ok(true);
        }
        if row::is_missed(&event) {
            eprintln!("{}", row::missed(&event));
            return Ok(true);
        }
        if !self.filter.includes(&event) {
            return Ok(true);
        }
        let packet = event.get_mut("extensions").and_then(Value::as_object_mut).and_then(|more| more.remove("packet"));
        if let (Some(capture), Some(packet)) = (&mut self.capture, packet)
            && !capture.write(&event, packet.as_str().unwrap_or_default())?
        {
            return Ok(false);
        }
        let text = match self.output {
            None => String::new(),
            Some(Output::Json) => format!("{event}\n"),
            Some(Output::Table) => row::row(&event) + "\n",
        };
        // A reader that has gone away has had enough.
        if std::io::stdout().lock().write_all(text.as_bytes()).is_err() {
            return Ok(false);
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(self.left != Some(0))
    }
}
