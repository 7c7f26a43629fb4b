//! `spectrum-bench`: Spectrum beside direct forwarding, HAProxy and nginx, in one interleaved run, and what its XDP
//! program costs per packet. `cargo xtask bench` builds the product and starts this as root.
//!
//! Every figure is a median over rounds with its spread, and every comparison a ratio with its interval. What is worse
//! than a peer is shown as plainly as what is better.

mod bpf;
mod compare;
mod contestant;
mod load;
mod machine;
mod measure;
mod options;
mod origin;
mod private;
mod report;
mod rounds;
mod stats;
mod usage;
mod window;
mod world;
mod xdp;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use contestant::Contestant;
use options::{Options, chosen};
use report::Report;

fn main() -> ExitCode {
    let options = Options::parse();
    private::run(|| bench(&options)).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn bench(options: &Options) -> Result<ExitCode> {
    // Thousands of connections are open in this process at both their ends.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of open files")?;

    let contestants =
        chosen(Contestant::all(options.spectrum().as_deref()), &options.contestants, |c| c.name.to_owned())?;
    let measures = chosen(measure::all(), &options.measures, |measure| measure.name())?;
    let xdp =
        if options.measures.is_empty() || options.xdp { Some(xdp::run(options.rounds, options.quick)?) } else { None };
    let results = rounds::run(options, contestants, &measures)?;
    let report = Report { results, xdp };
    let tables = report.markdown();
    #[expect(clippy::print_stdout, reason = "the tables are what this program is for")]
    {
        print!("{tables}");
    }
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report.json())?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, tables).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if report.results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
