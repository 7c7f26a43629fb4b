//! How an origin is told who the client is.

/// The header in front of a connection's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None: the origin sees the edge.
    #[default]
    Off,
    /// A line of text.
    V1,
    /// Binary, with what else the origin is told.
    V2(Tlvs),
}

/// Which fields stand behind the addresses of a v2 header (type, length, value).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of its own, there or not")]
pub struct Tlvs {
    /// A name for the connection that the event log has, too.
    pub unique_id: bool,
    /// A checksum of the header.
    pub crc32c: bool,
    /// The name that the client asked for in TLS, else the application's hostname.
    pub authority: bool,
    /// What is known of the client's TLS, and of its certificate.
    pub ssl: bool,
}

impl ProxyProtocol {
    /// The product's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::V1 => "v1",
            Self::V2(_) => "v2",
        }
    }
}
