//! What a flood is made of, as the XDP program that makes each of its frames.
//!
//! `BPF_PROG_RUN` sends pages that it uses again as their last reader left them (`xdp_test_run_batch`), so the program writes every frame whole: the constant part as immediates, then sources, ports
//! and checksums. Checksums are right: what is wrong with a flood's frames is never an accident.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use bytemuck::Zeroable as _;
use spectrum_tests::Frame;
use spectrum_tests::frame::{ETHERNET, IPV4, TCP, UDP};

use crate::bpf::{self, Instruction, XDP_DROP};

/// A kind of IPv4 frame that a flood consists of.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) frame: Frame,
    pub(super) sources: Sources,
    /// Any port above 1023 in place of the frame's.
    pub(super) any_source_port: bool,
    pub(super) any_destination_port: bool,
    /// Any identification: each fragment is one of another packet.
    pub(super) any_identification: bool,
}

/// Where a flood claims to come from.
#[derive(Clone, Debug)]
pub(super) enum Sources {
    /// The frame's own.
    One,
    /// 32.0.0.0/3: half a billion. Nobody else in these networks has one of them.
    Any,
    /// Any of 11.0.0.0/8.
    Eleven,
    /// One of these, as many as [`LISTED`].
    Listed(Vec<u32>),
}

/// Length of [`Sources::Listed`]: a mask chooses.
pub(super) const LISTED: usize = 65_536;

/// Where frames go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// None: nowhere. What the generator itself costs.
    pub(super) device: Option<u32>,
    pub(super) from: [u8; 6],
    pub(super) to: [u8; 6],
}

/// A loaded program with the frame that it starts from.
pub(super) struct Sender {
    pub(super) program: OwnedFd,
    pub(super) frame: Vec<u8>,
    _sources: Option<OwnedFd>,
}

/// A bit of a port's first byte: with it none is below 1024.
const ABOVE: i32 = 4;
/// What the program cuts off each frame, so that each has its length set anew: an answer in its place has another.
const SPARE: usize = 4;

const IDENTIFICATION: usize = ETHERNET + 4;
const IP_SUM: usize = ETHERNET + 10;
const SOURCE: usize = ETHERNET + 12;
const PORTS: usize = ETHERNET + IPV4;

impl Shape {
    pub(super) fn new(frame: Frame, sources: Sources) -> Self {
        Self { frame, sources, any_source_port: true, any_destination_port: false, any_identification: false }
    }

    pub(super) fn load(&self, way: Way) -> Result<Sender> {
        let mut frame = self.frame.build();
        let (macs, _) = frame.split_at_mut(12);
        macs.copy_from_slice(&[way.to, way.from].concat());
        ensure!(frame.len() % 4 == 2 && self.frame.source.is_ipv4(), "a frame of whole words behind Ethernet, of IPv4");
        let sources = match &self.sources {
            Sources::Listed(list) => {
                ensure!(list.len() == LISTED, "{} sources are not {LISTED}", list.len());
                Some(bpf::array(list)?)
            }
            _ => None,
        };
        let program = bpf::load(&self.program(&frame, sources.as_ref(), way.device)?)?;
        frame.resize(frame.len() + SPARE, 0);
        Ok(Sender { program, frame, _sources: sources })
    }

    fn program(&self, frame: &[u8], sources: Option<&OwnedFd>, device: Option<u32>) -> Result<Vec<Instruction>> {
        let later_fragment = self.frame.fragment.is_some_and(|fragment| fragment.offset != 0);
        let mut code = Assembler::default();
        code.cut(i32::try_from(SPARE)?);
        code.packet(i32::try_from(frame.len())?);
        for (at, bytes) in (0..).step_by(4).zip(frame.chunks(4)) {
            code.put(at, bytes);
        }
        match (&self.sources, sources) {
            (Sources::Listed(_), Some(map)) => code.listed(map),
            (Sources::Any, _) => code.random(SRC, 0xffff_ff1f, 0x20),
            (Sources::Eleven, _) => code.random(SRC, 0xffff_ff00, 0x0b),
            _ => code.set(SRC, word(frame, SOURCE)?),
        }
        code.random(CHANCE, u32::MAX, 0);
        code.store_word(SOURCE, SRC);
        // The source's part of both checksums.
        code.copy(1, SRC);
        code.low_half(1);
        code.copy(2, SRC);
        code.high_half(2);
        code.add(1, 2);
        // The IP header.
        let mut header = frame.get(ETHERNET..PORTS).context("a whole IP header")?.to_vec();
        blank(&mut header, IP_SUM - ETHERNET, 2);
        blank(&mut header, SOURCE - ETHERNET, 4);
        if self.any_identification {
            blank(&mut header, IDENTIFICATION - ETHERNET, 2);
        }
        code.set(2, sum(&header));
        code.add(2, 1);
        if self.any_identification {
            code.copy(3, CHANCE);
            code.low_half(3);
            code.store_half(IDENTIFICATION, 3);
            code.add(2, 3);
        }
        code.finish_sum(2);
        code.store_half(IP_SUM, 2);
        if !later_fragment {
            self.transport(&mut code, frame)?;
        }
        code.leave(device.map(i32::try_from).transpose()?);
        Ok(code.0)
    }

    fn transport(&self, code: &mut Assembler, frame: &[u8]) -> Result<()> {
        let mut segment = frame.get(PORTS..).context("a segment")?.to_vec();
        let length = u16::try_from(segment.len())?.to_be_bytes();
        let sum_at = match self.frame.protocol {
            TCP => 16,
            UDP => 6,
            other => anyhow::bail!("no floods of protocol {other}"),
        };
        blank(&mut segment, sum_at, 2);
        let ports = word(&segment, 0)?;
        blank(&mut segment, 0, 4);
        let destination = frame.get(SOURCE + 4..PORTS).context("a destination")?;
        let covered = [destination, &[0, self.frame.protocol], &length, &segment].concat();
        if self.any_source_port {
            code.copy(4, CHANCE);
            code.low_half(4);
            code.or(4, ABOVE);
        } else {
            code.set(4, ports & 0xffff);
        }
        if self.any_destination_port {
            code.copy(5, CHANCE);
            code.high_half(5);
            code.or(5, ABOVE);
        } else {
            code.set(5, ports >> 16);
        }
        code.store_half(PORTS, 4);
        code.store_half(PORTS + 2, 5);
        code.set(2, sum(&covered));
        for part in [1, 4, 5] {
            code.add(2, part);
        }
        code.finish_sum(2);
        code.store_half(PORTS + sum_at, 2);
        Ok(())
    }
}

fn blank(bytes: &mut [u8], at: usize, count: usize) {
    bytes.iter_mut().skip(at).take(count).for_each(|byte| *byte = 0);
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).context("a word")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

/// Of 16-bit parts as they lie in memory: the order of their bytes does not matter (RFC 1071 2).
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| pair.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))).sum()
}

/// Registers that survive calls: the front of the packet, its source, and chance.
const PACKET: u8 = 7;
const SRC: u8 = 9;
const CHANCE: u8 = 8;
const FRAME_POINTER: u8 = 10;

/// Instructions by what they are for (Documentation/bpf/standardization/instruction-set.rst).
#[derive(Default)]
struct Assembler(Vec<Instruction>);

impl Assembler {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.0.push(Instruction { code, registers: from << 4 | to, offset, immediate });
    }

    fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.push(0xbf, to, from, 0, 0);
    }

    fn set(&mut self, to: u8, value: u32) {
        self.push(0xb4, to, 0, 0, value.cast_signed());
    }

    fn add(&mut self, to: u8, from: u8) {
        self.push(0x0f, to, from, 0, 0);
    }

    fn or(&mut self, to: u8, bits: i32) {
        self.push(0x47, to, 0, 0, bits);
    }

    fn low_half(&mut self, register: u8) {
        self.push(0x57, register, 0, 0, 0xffff);
    }

    fn high_half(&mut self, register: u8) {
        self.push(0x77, register, 0, 0, 16);
    }

    fn store_word(&mut self, at: usize, from: u8) {
        self.push(0x63, PACKET, from, offset(at), 0);
    }

    fn store_half(&mut self, at: usize, from: u8) {
        self.push(0x6b, PACKET, from, offset(at), 0);
    }

    /// A constant of four bytes, or of two.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        match *bytes {
            [a, b, c, d] => self.push(0x62, PACKET, 0, offset(at), i32::from_ne_bytes([a, b, c, d])),
            [a, b] => self.push(0x6a, PACKET, 0, offset(at), i32::from(u16::from_ne_bytes([a, b]))),
            _ => {}
        }
    }

    /// The last bytes off the frame: `bpf_xdp_adjust_tail`.
    fn cut(&mut self, bytes: i32) {
        self.copy(6, 1);
        self.push(0xb7, 2, 0, 0, -bytes);
        self.call(65);
    }

    /// The packet's front, once there are `length` bytes.
    fn packet(&mut self, length: i32) {
        self.push(0x61, PACKET, 6, 0, 0);
        self.push(0x61, 8, 6, 4, 0);
        self.copy(2, PACKET);
        self.push(0x07, 2, 0, 0, length);
        // On over the two that give up where it fits.
        self.push(0xbd, 2, 8, 2, 0);
        self.give_up();
    }

    fn give_up(&mut self) {
        self.push(0xb7, 0, 0, 0, XDP_DROP);
        self.push(0x95, 0, 0, 0, 0);
    }

    /// Any number (`bpf_get_prandom_u32`), by a mask and with these bits.
    fn random(&mut self, to: u8, mask: u32, bits: i32) {
        self.call(7);
        self.push(0xbc, to, 0, 0, 0);
        if mask != u32::MAX {
            // The 32-bit operation: its immediate is not widened by its sign.
            self.push(0x54, to, 0, 0, mask.cast_signed());
            self.or(to, bits);
        }
    }

    /// Any source of the list (`bpf_map_lookup_elem`).
    fn listed(&mut self, map: &OwnedFd) {
        const KEY: i16 = -4;
        const PSEUDO_MAP_FD: u8 = 1;
        self.call(7);
        self.low_half(0);
        self.push(0x63, FRAME_POINTER, 0, KEY, 0);
        self.copy(2, FRAME_POINTER);
        self.push(0x07, 2, 0, 0, i32::from(KEY));
        self.push(0x18, 1, PSEUDO_MAP_FD, 0, map.as_raw_fd());
        self.0.push(Instruction::zeroed());
        self.call(1);
        self.push(0x55, 0, 0, 2, 0);
        self.give_up();
        self.push(0x61, SRC, 0, 0, 0);
    }

    fn finish_sum(&mut self, register: u8) {
        for _ in 0..2 {
            self.copy(3, register);
            self.low_half(3);
            self.high_half(register);
            self.add(register, 3);
        }
        self.push(0xa7, register, 0, 0, 0xffff);
    }

    /// Out by a device (`bpf_redirect`), or nowhere.
    fn leave(&mut self, device: Option<i32>) {
        let Some(device) = device else { return self.give_up() };
        self.push(0xb7, 1, 0, 0, device);
        self.push(0xb7, 2, 0, 0, 0);
        self.call(23);
        self.push(0x95, 0, 0, 0, 0);
    }
}

fn offset(at: usize) -> i16 {
    // Within a frame of at most a hundred bytes.
    i16::try_from(at).unwrap_or(i16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_order_of_bytes_within_a_part() {
        let frame = Frame::tcp_syn().build();
        let header = &frame[ETHERNET..PORTS];
        let folded = |sum: u32| (sum & 0xffff) + (sum >> 16);
        assert_eq!(folded(folded(sum(header))), 0xffff, "a header with its checksum");
    }
}
