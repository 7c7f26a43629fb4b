//! The command line.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::flood::PARTS;
use crate::window::Spans;

/// Compares Spectrum with direct forwarding, HAProxy and nginx, and floods it. Needs root; touches nothing of the host's network.
#[derive(Debug, clap::Parser)]
#[command(name = "spectrum-bench")]
pub(crate) struct Options {
    /// Program of Spectrum, built for release; without it, and without `SPECTRUM_BIN`, only the
    /// peers are measured
    #[arg(long, value_name = "PATH")]
    spectrum: Option<PathBuf>,
    /// Times every contestant is measured; at least 5 for a figure that counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Only these parts, of: traffic, tls, xdp, networks, floods; of floods alone: answers, drops, crafted, connects, streams
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<String>,
    /// Short windows: to see that everything works, not to quote
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these measures of traffic, and nothing else; with `--only tls`, of TLS
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) measures: Vec<String>,
    /// Only these contestants
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) contestants: Vec<String>,
    /// The cost of the XDP program too, where only some measures are chosen
    #[arg(long)]
    pub(crate) xdp: bool,
    /// Measure this database of countries too, in the part networks
    #[arg(long, value_name = "PATH")]
    pub(crate) country: Option<PathBuf>,
    /// And this one of autonomous systems
    #[arg(long, value_name = "PATH")]
    pub(crate) asn: Option<PathBuf>,
    /// Also write everything, with every sample, as JSON
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
    /// Also write the tables as Markdown
    #[arg(long, value_name = "PATH")]
    pub(crate) markdown: Option<PathBuf>,
}

impl Options {
    /// Spectrum's program, if it is to be measured.
    pub(crate) fn spectrum(&self) -> Option<PathBuf> {
        self.spectrum.clone().or_else(|| env::var_os("SPECTRUM_BIN").map(PathBuf::from))
    }

    pub(crate) fn spans(&self) -> Spans {
        let milliseconds =
            |warm_up, window| Spans { warm_up: Duration::from_millis(warm_up), window: Duration::from_millis(window) };
        if self.quick { milliseconds(300, 1000) } else { milliseconds(500, 3000) }
    }
}

/// What is to be measured.
#[expect(clippy::struct_excessive_bools, reason = "each is a part of its own, to be chosen apart")]
pub(crate) struct Parts {
    pub(crate) traffic: bool,
    pub(crate) tls: bool,
    pub(crate) xdp: bool,
    pub(crate) networks: bool,
    pub(crate) floods: Vec<&'static str>,
}

impl Options {
    /// Everything where nothing is chosen.
    pub(crate) fn parts(&self) -> Result<Parts> {
        const TRAFFIC: &str = "traffic";
        const TLS: &str = "tls";
        const XDP: &str = "xdp";
        const NETWORKS: &str = "networks";
        const FLOODS: &str = "floods";
        let known = [&[TRAFFIC, TLS, XDP, NETWORKS, FLOODS], PARTS.as_slice()].concat();
        if let Some(unknown) = self.only.iter().find(|part| !known.contains(&part.as_str())) {
            bail!("there is no part \"{unknown}\"; there is: {}", known.join(", "));
        }
        let named = |part: &str| self.only.iter().any(|name| name == part);
        let all = self.only.is_empty() && self.measures.is_empty();
        Ok(Parts {
            traffic: named(TRAFFIC) || self.only.is_empty(),
            tls: named(TLS) || all,
            xdp: named(XDP) || self.xdp || all,
            networks: named(NETWORKS) || all,
            floods: PARTS.into_iter().filter(|part| named(part) || named(FLOODS) || all).collect(),
        })
    }
}

/// Those of each list whose name is in `names`; all of them where no name is given. Each name must be in some list.
pub(crate) fn chosen<T, const N: usize>(
    lists: [Vec<T>; N],
    names: &[String],
    name: impl Fn(&T) -> String,
) -> Result<[Vec<T>; N]> {
    let mut known: Vec<String> = Vec::new();
    for name in lists.iter().flatten().map(&name) {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    if let Some(unknown) = names.iter().find(|wanted| !known.contains(wanted)) {
        bail!("there is no \"{unknown}\"; there is: {}", known.join(", "));
    }
    let wanted = |item: &T| names.is_empty() || names.contains(&name(item));
    Ok(lists.map(|list| list.into_iter().filter(wanted).collect()))
}
