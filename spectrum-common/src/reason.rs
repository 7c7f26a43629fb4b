//! Why a packet got its verdict: one list for the kernel, the metrics, the events and the documentation.

/// Why a packet got its verdict. Every packet counts under exactly one (invariant I5).
///
/// The numbers are map indexes: append, never renumber; a change of meaning is a new layout version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Reason {
    /// Not IPv4 or IPv6: ARP, LLDP and the like. Passed untouched.
    NotIp = 0,
    /// A header was cut short. Passed for the kernel to judge (I4: fail open).
    Truncated = 1,
    /// A header contradicts itself (an IPv4 header length below 20 bytes, a wrong version). Passed.
    Malformed = 2,
    /// IP, but neither TCP nor UDP. Passed untouched.
    OtherProtocol = 3,
    /// More IPv6 extension headers than the parser follows. Passed.
    TooManyHeaders = 4,
    /// A later fragment carries no ports; the kernel reassembles, and the whole is checked again at accept. Passed.
    LaterFragment = 5,
    /// No application owns the destination. Passed untouched (I3).
    NotOurs = 6,
    /// An application owns the destination and nothing speaks against the source. Passed.
    Steered = 7,
    /// As `Steered`, and an allow rule names the source. Passed.
    Allowed = 8,
    /// A block rule names the source. Dropped.
    Blocked = 9,
    /// A pool address, but no application on that port. Dropped.
    ClosedPort = 10,
    /// As `ClosedPort` where the node says `closed_ports = "reset"`: passed, and the kernel answers with a reset.
    ClosedPortReset = 11,
    /// Steered, but nobody listens (no daemon): `sk_lookup` refuses, and the kernel answers with a reset. Counted by the
    /// steering program, in packets only.
    NoListener = 12,
    /// As `ClosedPort`, but the segment belongs to a connection that is open: the application that had the port is gone
    /// from the configuration, its connections are not (I9). Passed.
    OpenConnection = 13,
    /// A SYN to an application while the kernel gives SYN cookies: XDP has answered it, and the kernel hears of the client
    /// only when it acknowledges the cookie. Answered.
    SynCookie = 14,
    /// Flags of a TCP segment that no sender of good faith combines: SYN with FIN or RST, RST with FIN, or none of SYN,
    /// ACK and RST. Dropped.
    IllegalFlags = 15,
    /// To an application from its own address and port (LAND). Dropped.
    Land = 16,
    /// From port 0, which nobody can answer. Dropped.
    PortZero = 17,
    /// A TCP segment of no connection while a flood lasts: it does not ask for one, belongs to none, and acknowledges
    /// no cookie. Dropped.
    Orphan = 18,
    /// As `Steered`, and a block rule that is only tried (`simulate`) names the source. Passed.
    Simulated = 19,
    /// A datagram from a port that reflectors answer from, to an application that expects no such answers. Dropped.
    Reflection = 20,
    /// A datagram that is by its first bytes an answer that nobody asked for. Dropped.
    Signature = 21,
    /// A fragment that an application of this node does not take: of a datagram, or of a segment's header. Dropped.
    Fragment = 22,
    /// More requests or datagrams than an application grants one source, or than the source's share while the application
    /// has no room for all. Dropped.
    SourceRate = 23,
    /// More requests or datagrams than an application grants to all. Dropped.
    AppRate = 24,
}

/// What XDP does with the packets of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    Drop,
    /// The packet goes back to its sender as the answer that the program has made of it.
    Answer,
}

/// A part of the program that a packet goes through, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// From bytes to addresses, ports and protocol.
    Parse,
    /// Who owns the destination.
    Steering,
    /// What no client sends, and fragments.
    Sanity,
    /// Allow and block by source.
    Access,
    /// What the application refuses by itself: filters of datagrams, rates.
    Policy,
    /// SYNs answered with a cookie; segments of no connection.
    Flood,
}

impl Stage {
    pub const ALL: [Self; 6] = [Self::Parse, Self::Steering, Self::Sanity, Self::Access, Self::Policy, Self::Flood];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Steering => "steering",
            Self::Sanity => "sanity",
            Self::Access => "access",
            Self::Policy => "policy",
            Self::Flood => "flood",
        }
    }
}

impl Action {
    /// The name in events, `spectrum why` and the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Answer => "answer",
        }
    }
}

/// Counter slots per application, with room for reasons to come without another layout.
pub const SLOTS: u32 = 32;

impl Reason {
    pub const ALL: [Self; 25] = [
        Self::NotIp,
        Self::Truncated,
        Self::Malformed,
        Self::OtherProtocol,
        Self::TooManyHeaders,
        Self::LaterFragment,
        Self::NotOurs,
        Self::Steered,
        Self::Allowed,
        Self::Blocked,
        Self::ClosedPort,
        Self::ClosedPortReset,
        Self::NoListener,
        Self::OpenConnection,
        Self::SynCookie,
        Self::IllegalFlags,
        Self::Land,
        Self::PortZero,
        Self::Orphan,
        Self::Simulated,
        Self::Reflection,
        Self::Signature,
        Self::Fragment,
        Self::SourceRate,
        Self::AppRate,
    ];

    /// The name in metrics, events and `spectrum why`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::OtherProtocol => "other_protocol",
            Self::TooManyHeaders => "too_many_headers",
            Self::LaterFragment => "later_fragment",
            Self::NotOurs => "not_ours",
            Self::Steered => "steered",
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
            Self::ClosedPort => "closed_port",
            Self::ClosedPortReset => "closed_port_reset",
            Self::NoListener => "no_listener",
            Self::OpenConnection => "open_connection",
            Self::SynCookie => "syn_cookie",
            Self::IllegalFlags => "illegal_flags",
            Self::Land => "land",
            Self::PortZero => "port_zero",
            Self::Orphan => "orphan",
            Self::Simulated => "simulated",
            Self::Reflection => "reflection",
            Self::Signature => "signature",
            Self::Fragment => "fragment",
            Self::SourceRate => "source_rate",
            Self::AppRate => "app_rate",
        }
    }

    /// One sentence for a person.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::NotIp => "not an IP packet; passed untouched",
            Self::Truncated => "a header is cut short; passed for the kernel to judge",
            Self::Malformed => "a header contradicts itself; passed for the kernel to judge",
            Self::OtherProtocol => "neither TCP nor UDP; passed untouched",
            Self::TooManyHeaders => "more IPv6 extension headers than are followed; passed",
            Self::LaterFragment => "a later fragment has no ports; passed, checked again at accept",
            Self::NotOurs => "no application owns the destination; passed untouched",
            Self::Steered => "an application owns the destination; passed",
            Self::Allowed => "an allow rule names the source; passed",
            Self::Blocked => "a block rule names the source; dropped",
            Self::ClosedPort => "a pool address without an application on that port; dropped",
            Self::ClosedPortReset => {
                "a pool address without an application on that port; passed, and the kernel resets"
            }
            Self::NoListener => "steered, but no daemon listens; refused, and the kernel resets",
            Self::OpenConnection => "no application has the port any more, but the connection is open; passed",
            Self::SynCookie => "a SYN while SYN cookies are given: answered with one",
            Self::IllegalFlags => "TCP flags that no sender of good faith combines; dropped",
            Self::Land => "from the very address and port that it is for; dropped",
            Self::PortZero => "from port 0, which nobody can answer; dropped",
            Self::Orphan => "a TCP segment of no connection, while a flood lasts; dropped",
            Self::Simulated => "a block rule that is only tried names the source; passed",
            Self::Reflection => "a datagram from a port that reflectors answer from; dropped",
            Self::Signature => "a datagram that is an answer which nobody asked for; dropped",
            Self::Fragment => "a fragment that applications of this node do not take; dropped",
            Self::SourceRate => "more than one source may have of the application now; dropped",
            Self::AppRate => "more than the application has room for; dropped",
        }
    }

    /// What XDP does with the packet: the only place where a reason becomes an action.
    pub const fn action(self) -> Action {
        match self {
            Self::Blocked
            | Self::ClosedPort
            | Self::NoListener
            | Self::IllegalFlags
            | Self::Land
            | Self::PortZero
            | Self::Orphan
            | Self::Reflection
            | Self::Signature
            | Self::Fragment
            | Self::SourceRate
            | Self::AppRate => Action::Drop,
            Self::NotIp
            | Self::Truncated
            | Self::Malformed
            | Self::OtherProtocol
            | Self::TooManyHeaders
            | Self::LaterFragment
            | Self::NotOurs
            | Self::Steered
            | Self::Allowed
            | Self::ClosedPortReset
            | Self::OpenConnection
            | Self::Simulated => Action::Pass,
            Self::SynCookie => Action::Answer,
        }
    }

    /// Where the program had its last word. None: it went through all of them.
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::NotIp | Self::Truncated | Self::Malformed | Self::OtherProtocol | Self::TooManyHeaders => {
                Some(Stage::Parse)
            }
            Self::LaterFragment
            | Self::NotOurs
            | Self::ClosedPort
            | Self::ClosedPortReset
            | Self::NoListener
            | Self::OpenConnection => Some(Stage::Steering),
            Self::Fragment | Self::IllegalFlags | Self::Land | Self::PortZero => Some(Stage::Sanity),
            Self::Blocked => Some(Stage::Access),
            Self::Reflection | Self::Signature | Self::SourceRate | Self::AppRate => Some(Stage::Policy),
            Self::SynCookie | Self::Orphan => Some(Stage::Flood),
            Self::Steered | Self::Allowed | Self::Simulated => None,
        }
    }

    /// Whether the packet was for an application or a pool: only such ones are sampled, all others are the host's own affair.
    pub const fn is_ours(self) -> bool {
        !matches!(
            self,
            Self::NotIp
                | Self::Truncated
                | Self::Malformed
                | Self::OtherProtocol
                | Self::TooManyHeaders
                | Self::NotOurs
        )
    }

    /// The reason with this map index.
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(index as usize).copied()
    }

    /// This reason's map index.
    pub const fn index(self) -> u32 {
        self as u32
    }
}

#[expect(clippy::indexing_slicing, reason = "at compile time")]
const _: () = {
    assert!(Reason::ALL.len() <= SLOTS as usize);
    let mut i = 0;
    while i < Reason::ALL.len() {
        assert!(Reason::ALL[i] as usize == i, "ALL is in index order");
        i += 1;
    }
};
