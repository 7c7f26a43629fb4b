//! Sampled verdicts, from the kernel's ring buffer to values.

use std::{io, net::IpAddr};

use aya::maps::{MapData, RingBuf};
use spectrum_common::{
    Reason,
    layout::{Event, NO_APP},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    image::address,
    maps::{MapSource, OpenMapError, open_events},
};

/// One sampled verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
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
    pub ifindex: u32,
    /// Bytes on the wire.
    pub length: u32,
    /// Verdicts of the same CPU that were left out before this one.
    pub skipped: u64,
}

/// The reading end of the ring buffer, within a tokio runtime.
pub struct Samples {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Samples {
    pub fn open(source: MapSource<'_>) -> Result<Self, OpenSamplesError> {
        let ring = open_events(source)?;
        // SAFETY: a ring owns its one descriptor from its making to its drop.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| OpenSamplesError::Watch(error.into()))?;
        Ok(Self { ring })
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
        next(self.ring.get_mut())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenSamplesError {
    #[error(transparent)]
    Map(#[from] OpenMapError),
    #[error("watch the ring buffer of sampled verdicts")]
    Watch(#[source] io::Error),
}

/// The next sample that is in a ring already. What is no event, another build wrote.
pub(super) fn next(ring: &mut RingBuf<MapData>) -> Option<Sample> {
    while let Some(item) = ring.next() {
        if let Ok(event) = bytemuck::try_pod_read_unaligned::<Event>(&item)
            && let Some(sample) = sample(&event)
        {
            return Some(sample);
        }
    }
    None
}

fn sample(event: &Event) -> Option<Sample> {
    Some(Sample {
        reason: Reason::from_index(event.reason)?,
        app: (event.app != NO_APP).then_some(event.app),
        rule: (event.rule != 0).then_some(event.rule),
        source: address(event.source),
        source_port: u16::from_be_bytes(event.source_port),
        destination: address(event.destination),
        destination_port: u16::from_be_bytes(event.destination_port),
        protocol: u8::try_from(event.protocol).unwrap_or_default(),
        ifindex: event.ifindex,
        length: event.length,
        skipped: event.skipped,
    })
}
