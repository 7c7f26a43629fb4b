//! Sampled verdicts, from the kernel's ring buffer to values.

use std::{fmt, io, net::IpAddr, time::SystemTime};

use aya::maps::{MapData, RingBuf};
use spectrum_common::{
    Reason,
    layout::{CAPTURE, Event, NO_APP, NO_FLAGS},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    clock,
    image::address,
    maps::{MapSource, OpenMapError, open_events},
};

/// One sampled verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the packet came.
    pub time: SystemTime,
    pub reason: Reason,
    /// Number of the application, where the packet has one.
    pub app: Option<u32>,
    /// Number of the rule that decided, where one did.
    pub rule: Option<u32>,
    pub source: IpAddr,
    pub source_port: u16,
    pub destination: IpAddr,
    pub destination_port: u16,
    pub protocol: u8,
    /// Of a TCP segment that is long enough to have some.
    pub tcp_flags: Option<u8>,
    pub ifindex: u32,
    /// Bytes on the wire.
    pub length: u32,
    /// How many packets for applications and pools it stands for, itself included. 0: it is no sample of all of them but
    /// of the drops alone, and who estimates shares must leave it out.
    pub weight: u32,
    /// How many drops it stands for, itself included. 0: it is no sample of the drops, though it may be of one.
    pub drops: u32,
    /// Where the TCP or UDP header begins in `packet`; 0 where it was not found.
    pub transport: u32,
    /// The first bytes of the packet as it came.
    pub packet: Captured,
}

/// The first bytes of a packet, from its Ethernet header on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    length: usize,
    bytes: [u8; CAPTURE],
}

impl Captured {
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.length)
    }
}

/// The reading end of the ring buffer, within a tokio runtime.
pub struct Samples {
    ring: AsyncFd<RingBuf<MapData>>,
    /// What is older lay in the ring when nobody read.
    opened_ns: u64,
}

impl Samples {
    pub fn open(source: MapSource<'_>) -> Result<Self, OpenSamplesError> {
        let ring = open_events(source)?;
        // SAFETY: a ring owns its one descriptor from its making to its drop.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| OpenSamplesError::Watch(error.into()))?;
        Ok(Self { ring, opened_ns: clock::now_ns() })
    }

    /// Waits for the next sample.
    pub async fn next(&mut self) -> io::Result<Sample> {
        loop {
            if let Some(sample) = self.try_next() {
                return Ok(sample);
            }
            self.ring.readable().await?.clear_ready();
            // What came between the last look and the clearing is there already.
            if let Some(sample) = self.try_next() {
                return Ok(sample);
            }
        }
    }

    /// The next sample that is there already.
    pub fn try_next(&mut self) -> Option<Sample> {
        next(self.ring.get_mut(), self.opened_ns)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenSamplesError {
    #[error(transparent)]
    Map(#[from] OpenMapError),
    #[error("watch the ring buffer of sampled verdicts")]
    Watch(#[source] io::Error),
}

/// The next sample that is in a ring already and not older than `since_ns`. What is no event, another build wrote.
pub(super) fn next(ring: &mut RingBuf<MapData>, since_ns: u64) -> Option<Sample> {
    while let Some(item) = ring.next() {
        if let Ok(event) = bytemuck::try_pod_read_unaligned::<Event>(&item)
            && event.time_ns >= since_ns
            && let Some(sample) = sample(&event)
        {
            return Some(sample);
        }
    }
    None
}

fn sample(event: &Event) -> Option<Sample> {
    let flags = (event.tcp_flags & NO_FLAGS == 0).then_some(event.tcp_flags);
    Some(Sample {
        time: clock::wall(event.time_ns),
        reason: Reason::from_index(event.reason)?,
        app: (event.app != NO_APP).then_some(event.app),
        rule: (event.rule != 0).then_some(event.rule),
        source: address(event.source),
        source_port: u16::from_be_bytes(event.source_port),
        destination: address(event.destination),
        destination_port: u16::from_be_bytes(event.destination_port),
        protocol: u8::try_from(event.protocol).unwrap_or_default(),
        tcp_flags: flags.and_then(|flags| u8::try_from(flags).ok()),
        ifindex: event.ifindex,
        length: event.length,
        weight: event.weight,
        drops: event.drops,
        transport: event.transport,
        packet: Captured {
            length: usize::try_from(event.captured).unwrap_or(CAPTURE).min(CAPTURE),
            bytes: event.bytes,
        },
    })
}

#[cfg(test)]
impl Captured {
    pub(crate) fn testing(bytes: &[u8]) -> Self {
        let mut captured = Self { length: bytes.len(), bytes: [0; CAPTURE] };
        captured.bytes[..bytes.len()].copy_from_slice(bytes);
        captured
    }
}

#[cfg(test)]
impl Sample {
    /// A SYN that was steered, of which nothing was captured.
    pub(crate) fn testing() -> Self {
        Self {
            time: SystemTime::UNIX_EPOCH,
            reason: Reason::Steered,
            app: Some(1),
            rule: None,
            source: IpAddr::from([192, 0, 2, 7]),
            source_port: 40_000,
            destination: IpAddr::from([198, 51, 100, 10]),
            destination_port: 443,
            protocol: 6,
            tcp_flags: Some(2),
            ifindex: 2,
            length: 54,
            weight: 1,
            drops: 0,
            transport: 34,
            packet: Captured { length: 0, bytes: [0; CAPTURE] },
        }
    }
}
