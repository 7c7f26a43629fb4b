//! `spectrum why`: the verdict of the kernel program itself on a packet of a kind.
//!
//! The program is loaded once more over the instance's configuration maps, with counters and events of its own, and run
//! on made-up packets. Nothing that the instance is configured by changes, nothing is counted, and nothing is sent.

use std::net::{IpAddr, SocketAddr};

use aya::{
    TestRun as _, TestRunOptions,
    maps::{Array, MapData, MapError, RingBuf},
    programs::ProgramError,
};
use spectrum_common::{layout::mode, names};

use super::{
    events::{self, Sample},
    load::{LoadError, Loaded, Options},
    maps::{MapSource, OpenMapError, open_events, open_private_mode},
    pins::Pins,
};
use crate::model::Transport;

/// The maps that decide. All others are private to the question, `MODE` so that it can be asked what would be.
const DECIDING: [&str; 9] = [
    names::STEER,
    names::RULES_V4,
    names::RULES_V6,
    names::RULE_TABLE,
    names::ASN_RULES,
    names::COUNTRY_RULES,
    names::GEO,
    names::POLICIES,
    names::LISTENERS,
];

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A SYN.
    Request,
    /// A TCP segment with data, of a connection that this host does not know.
    Segment,
    /// A UDP datagram.
    Datagram,
}

#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("a packet from {from} to {to} cannot be: the addresses are of two families")]
    Families { from: IpAddr, to: IpAddr },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Map(#[from] OpenMapError),
    #[error("set the mode of the question")]
    Mode(#[source] MapError),
    #[error("run the XDP program on a packet")]
    Run(#[source] ProgramError),
    #[error("the XDP program said nothing about the packet")]
    Silent,
}

/// The XDP program over an instance's configuration, ready to be asked.
pub struct Explainer {
    loaded: Loaded,
    answers: RingBuf<MapData>,
    mode: Array<MapData, u32>,
}

impl Explainer {
    pub fn load(pins: &Pins) -> Result<Self, ExplainError> {
        let options = Options { pins: Some(pins), only: Some(&DECIDING), explain: true, log_level: 0 };
        let mut loaded = Loaded::load(options)?;
        let answers = open_events(MapSource::Object(&mut loaded.ebpf))?;
        let mode = open_private_mode(&mut loaded.ebpf)?;
        Ok(Self { loaded, answers, mode })
    }

    /// What happens to a packet from `from` to `to`; with `flood`, what would while one lasts.
    pub fn explain(&mut self, from: IpAddr, to: SocketAddr, kind: Kind, flood: bool) -> Result<Sample, ExplainError> {
        let frame = frame(from, to, kind).ok_or(ExplainError::Families { from, to: to.ip() })?;
        let bits = if flood { mode::REFUSE_ORPHANS } else { 0 };
        self.mode.set(0, bits, 0).map_err(ExplainError::Mode)?;
        self.loaded
            .xdp()?
            .test_run(TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() })
            .map_err(ExplainError::Run)?;
        events::next(&mut self.answers, 0).ok_or(ExplainError::Silent)
    }
}

/// A source port that no reflection list names.
const SOURCE_PORT: u16 = 54321;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// An Ethernet frame with a SYN, a segment, or an empty datagram, as far as the program reads it.
fn frame(from: IpAddr, to: SocketAddr, kind: Kind) -> Option<Vec<u8>> {
    let mut frame = vec![0; 12];
    let (transport, l4): (_, u16) = match kind {
        Kind::Request | Kind::Segment => (Transport::Tcp, 20),
        Kind::Datagram => (Transport::Udp, 8),
    };
    match (from, to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + l4).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, transport.number(), 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(l4.to_be_bytes());
            frame.extend([transport.number(), 64]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        _ => return None,
    }
    frame.extend(SOURCE_PORT.to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    match kind {
        Kind::Request => frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]),
        Kind::Segment => frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, ACK, 0xff, 0xff, 0, 0, 0, 0]),
        Kind::Datagram => frame.extend([0, 8, 0, 0]),
    }
    Some(frame)
}
