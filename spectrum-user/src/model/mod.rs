//! What Spectrum is told to do, as types that cannot hold a bad value.
//!
//! Deliberately not here: I/O, serde, tokio, aya, rustls. Shapes of the file live in `config`, shapes of the kernel
//! maps in `dataplane`.

mod acme;
mod address;
mod application;
mod desired;
mod edge;
mod geo;
mod id;
mod node;
mod origin;
mod origins;
mod port;
mod protocol;
mod proxy_protocol;
mod rate;
mod rule;
mod server_names;
mod shield;
mod tls;

pub use acme::{Acme, AcmeChallenge, DirectoryUrl, ExternalAccount, InvalidDirectoryUrl, KeyType, Responder};
pub use address::no_host;
pub use application::{Application, Keepalive, Rates, SpliceMode, SynCookies, Timeouts, UdpFilters};
pub use desired::{DesiredState, Leaders, Zone};
pub use edge::{ClosedPorts, Connectivity, Edge, EdgeIps, UdpFragments};
pub use geo::{Geo, GeoMemory};
pub use id::{AppId, InvalidId, RuleId, ZoneId};
pub use node::{EventSink, Filter, Instance, InvalidInstance, Node, Sources, XdpMode};
pub use origin::{DirectOrigin, InvalidOrigin};
pub use origins::{AddressRecords, Balance, ConnectionLimits, DnsOrigin, DnsRecords, Exchange, HealthCheck, Origins};
pub use port::{InvalidPortRange, PortRange};
pub use protocol::{InvalidProtocol, Protocol, Transport};
pub use proxy_protocol::{ProxyProtocol, Tlvs};
pub use rate::{InvalidRate, PacketRate};
pub use rule::{AccessRule, Country, RuleMode, Scope, Target};
pub use server_names::{Closeness, ServerNames, covers};
pub use shield::{AutoRules, AutoSettings, Shield};
pub use tls::{EdgeTls, HandshakeLimits, Identity, MinTlsVersion, NodeTls, OriginTls, Tls, TlsMode, Verify};
