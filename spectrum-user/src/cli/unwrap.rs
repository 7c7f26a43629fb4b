//! `spectrum unwrap`.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use ipnet::IpNet;

use super::duration;
pub(super) use crate::unwrap::KEEPER;
use crate::unwrap::{self, Services, Settings};

#[derive(Debug, Args)]
pub(super) struct Unwrap {
    /// Where the edge connects to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The service, on loopback; once more for the other family of clients.
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    to: Vec<SocketAddr>,
    /// The edges whose headers are believed; everybody else is reset.
    #[arg(long, value_name = "PREFIX", required = true, value_delimiter = ',', value_parser = prefix)]
    from: Vec<IpNet>,
    /// How long a sender may take for its header.
    #[arg(long, value_parser = duration, default_value = "5s", value_name = "DURATION")]
    header_timeout: Duration,
    /// How long open connections may go on after SIGTERM.
    #[arg(long, value_parser = duration, default_value = "30s", value_name = "DURATION")]
    drain: Duration,
    /// Connections at once; without it, as many as the limit of open files allows.
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<NonZeroUsize>,
}

pub(super) async fn unwrap(asked: Unwrap) -> anyhow::Result<ExitCode> {
    let to = Services::new(asked.listen, &asked.to)?;
    unwrap::run(Settings {
        listen: asked.listen,
        to,
        from: asked.from,
        header_timeout: asked.header_timeout,
        drain: asked.drain,
        connections: asked.max_connections,
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn keep() -> anyhow::Result<ExitCode> {
    unwrap::keep().await?;
    Ok(ExitCode::SUCCESS)
}

/// `203.0.113.0/24`, or one address.
fn prefix(text: &str) -> Result<IpNet, String> {
    let prefix = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    prefix.map_err(|_| "write an address or a prefix, such as 203.0.113.1 or 2001:db8::/64".to_owned())
}
