//! Sampled packets as pcapng, for tcpdump and Wireshark: with nanoseconds, their real length, and why.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};
use serde_json::Value;
use spectrum_common::layout::CAPTURE;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::row;

/// An open file of packets.
pub(super) struct Capture(PcapNgWriter<Box<dyn Write>>);

/// Timestamps are in units of ten to the minus ninth.
const NANOSECONDS: u8 = 9;

impl Capture {
    /// A new file there, or standard output for `-`.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let out: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(path).with_context(|| format!("cannot write packets to {}", path.display()))?)
        };
        Self::begin(out).with_context(|| format!("cannot write packets to {}", path.display()))
    }

    fn begin(out: Box<dyn Write>) -> anyhow::Result<Self> {
        let mut writer = PcapNgWriter::new(out)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: u32::try_from(CAPTURE)?,
            options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
        };
        writer.write_pcapng_block(interface)?;
        writer.get_mut().flush()?;
        Ok(Self(writer))
    }

    /// Appends the packet of an event. Whether anybody reads still.
    pub(super) fn write(&mut self, event: &Value, packet: &str) -> anyhow::Result<bool> {
        let data = bytes(packet);
        let length = event.pointer("/extensions/length").and_then(Value::as_u64).unwrap_or_default();
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: since_epoch(event),
            // The library writes what it is given; no packet is shorter than its front.
            original_len: u32::try_from(length).unwrap_or(u32::MAX).max(u32::try_from(data.len())?),
            data: Cow::Owned(data),
            options: vec![EnhancedPacketOption::Comment(Cow::Owned(row::row(event)))],
        };
        match self.0.write_pcapng_block(block).and_then(|_| self.0.get_mut().flush().map_err(PcapError::IoError)) {
            Ok(()) => Ok(true),
            Err(PcapError::IoError(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("packets can no longer be written"),
        }
    }
}

fn since_epoch(event: &Value) -> Duration {
    let at = event.get("Timestamp").and_then(Value::as_str);
    let at = at.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    at.and_then(|at| u64::try_from(at.unix_timestamp_nanos()).ok()).map_or(Duration::ZERO, Duration::from_nanos)
}

/// The bytes behind hexadecimal digits, as far as they are such.
fn bytes(digits: &str) -> Vec<u8> {
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map_while(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_bytes() {
        assert_eq!(bytes("001fFF"), [0, 0x1f, 0xff]);
        assert_eq!(bytes("00zz11"), [0]);
        assert!(bytes("0").is_empty());
    }
}
