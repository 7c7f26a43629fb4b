//! How TLS is spoken on either side of an application, and what the node has for it.

use std::{fmt, path::PathBuf};

use super::Acme;

/// The product's word, and with it both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Bytes pass as they come; the client sees the origin's certificate, if there is one.
    #[default]
    Off,
    /// Ends at the edge; the origin is spoken to in clear.
    Flexible,
    /// Ends at the edge; the origin is spoken to in TLS, whoever it says it is.
    Full,
    /// As full, and the origin must show a certificate for its name by an authority that is trusted.
    Strict,
}

/// What happens to the client's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeTls {
    Passthrough,
    Terminate,
}

/// What the origin is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginTls {
    Plain,
    Encrypt(Verify),
}

/// What is asked of an origin's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: who sits between edge and origin can be anybody.
    DangerousSkip,
    /// Its name, its time, and a chain to a trusted authority.
    Chain,
}

impl TlsMode {
    /// The two sides of it.
    pub const fn sides(self) -> (EdgeTls, OriginTls) {
        match self {
            Self::Off => (EdgeTls::Passthrough, OriginTls::Plain),
            Self::Flexible => (EdgeTls::Terminate, OriginTls::Plain),
            Self::Full => (EdgeTls::Terminate, OriginTls::Encrypt(Verify::DangerousSkip)),
            Self::Strict => (EdgeTls::Terminate, OriginTls::Encrypt(Verify::Chain)),
        }
    }

    pub const fn terminates(self) -> bool {
        matches!(self.sides().0, EdgeTls::Terminate)
    }

    pub const fn encrypts(self) -> bool {
        matches!(self.sides().1, OriginTls::Encrypt(_))
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Flexible => "flexible",
            Self::Full => "full",
            Self::Strict => "strict",
        }
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The oldest version that clients may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinTlsVersion {
    /// 1.0 and 1.1, with OpenSSL (RFC 8996 says not to). Only builds with `legacy-tls` have it.
    Tls11,
    #[default]
    Tls12,
    Tls13,
}

/// TLS of one application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub mode: TlsMode,
    pub min_version: MinTlsVersion,
    /// A PEM file: clients must show a certificate by one of these authorities.
    pub client_ca: Option<PathBuf>,
    /// Asked for, and verified, in place of the origin's own name.
    pub origin_server_name: Option<String>,
    /// A PEM file: these authorities vouch for the origin, too.
    pub origin_ca: Option<PathBuf>,
    /// What origins are shown that ask who connects.
    pub origin_identity: Option<Identity>,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What the node has for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTls {
    /// Directories of certificates, or files of one.
    pub certificates: Vec<PathBuf>,
    /// What ticket keys are sealed with on disk; none: a key of the node's own.
    pub seal_key: Option<PathBuf>,
    pub handshakes: HandshakeLimits,
    /// Where certificates come from for hostnames that have none from a file.
    pub acme: Option<Acme>,
}

/// Handshakes under way at once: nobody is known yet, and each has memory and a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Of all clients.
    pub all: u32,
    /// Of one IPv4 address, or one IPv6 /64.
    pub per_client: u32,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        // A handshake takes 100 to 200 ms of a client's round trips: 500 a second of one address, and 20,000 of all.
        Self { all: 4096, per_client: 100 }
    }
}
