//! What is particular to this machine.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use super::{Geo, NodeTls, PortRange, Shield};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub filter: Filter,
    pub instance: Instance,
    pub state_dir: PathBuf,
    /// Traffic threads; 0: one per core.
    pub workers: usize,
    /// Where control sockets stand.
    pub api: Vec<PathBuf>,
    /// Where metrics and health are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    pub events: Option<EventSink>,
    /// How long open connections may take to finish after SIGTERM.
    pub drain: std::time::Duration,
    pub shield: Shield,
    /// Where networks and countries are looked up.
    pub geo: Geo,
    pub sources: Sources,
    pub tls: NodeTls,
}

/// What connections to origins come from. As it is by default, the kernel chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Addresses of this host: the next one is taken where one has no port left for an origin.
    pub addresses: Vec<IpAddr>,
    /// Ports to choose from, inside of `net.ipv4.ip_local_port_range`.
    pub ports: Option<PortRange>,
}

/// Where the XDP program is attached, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub interfaces: Vec<String>,
    pub mode: XdpMode,
}

impl Filter {
    /// The interfaces that the program should be on.
    pub fn wanted(&self) -> &[String] {
        if self.mode == XdpMode::Off { &[] } else { &self.interfaces }
    }
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native where the driver can, else generic; `status` says which.
    #[default]
    Auto,
    Native,
    Generic,
    /// Not at all: steering without the shield.
    Off,
}

impl XdpMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSink {
    Stdout,
    File(PathBuf),
}

/// The name of an instance: names its pin directory, lock and socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance is named by 1 to 32 letters, digits, `-` or `_`")]
pub struct InvalidInstance;

impl Instance {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Instance {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Instance {
    type Err = InvalidInstance;

    fn from_str(s: &str) -> Result<Self, InvalidInstance> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if s.is_empty() || s.len() > 32 || !s.bytes().all(word) {
            return Err(InvalidInstance);
        }
        Ok(Self(s.to_owned()))
    }
}
