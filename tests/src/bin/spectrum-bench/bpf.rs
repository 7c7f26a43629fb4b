//! The calls of bpf(2) that the benchmark needs beside the loader of the product: small programs of its own, their
//! attachment, and an array for one of them.
//!
//! Deliberately not here: running them (`spectrum_tests::test_run`).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use bytemuck::{Pod, Zeroable};

/// Of `enum xdp_action`.
pub(crate) const XDP_DROP: i32 = 1;
pub(crate) const XDP_PASS: i32 = 2;
pub(crate) const XDP_TX: i32 = 3;

/// Loads the XDP program that only returns `action`.
pub(crate) fn load_constant(action: i32) -> Result<OwnedFd> {
    // r0 = action (BPF_ALU64 | BPF_MOV | BPF_K), then BPF_EXIT.
    load(&[
        Instruction { code: 0xb7, immediate: action, ..Zeroable::zeroed() },
        Instruction { code: 0x95, ..Zeroable::zeroed() },
    ])
}

/// Loads an XDP program.
pub(crate) fn load(program: &[Instruction]) -> Result<OwnedFd> {
    let license = c"GPL";
    let attributes = LoadAttributes {
        program_type: PROG_TYPE_XDP,
        instruction_count: u32::try_from(program.len()).context("program too long")?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Zeroable::zeroed()
    };
    owned(bpf(PROG_LOAD, &attributes).context("load an XDP program (needs CAP_BPF and CAP_NET_ADMIN)")?)
}

const fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | (from << 4), offset, immediate }
}

/// Loads an XDP program that reads the addresses of an IPv4 packet and drops it, whatever they are: what the least that
/// knows whom it drops has to do.
pub(crate) fn load_reader() -> Result<OwnedFd> {
    load(&[
        // r2 = data, r3 = data_end; beyond it: out.
        insn(0x61, 2, 1, 0, 0),
        insn(0x61, 3, 1, 4, 0),
        insn(0xbf, 4, 2, 0, 0),
        insn(0x07, 4, 0, 0, 34),
        insn(0x2d, 4, 3, 6, 0),
        // r0 = source | destination, which is never 0.
        insn(0x61, 0, 2, 26, 0),
        insn(0x61, 4, 2, 30, 0),
        insn(0x4f, 0, 4, 0, 0),
        insn(0x15, 0, 0, 2, 0),
        insn(0xb7, 0, 0, 0, XDP_DROP),
        insn(0x95, 0, 0, 0, 0),
        // Out.
        insn(0xb7, 0, 0, 0, XDP_PASS),
        insn(0x95, 0, 0, 0, 0),
    ])
}

/// Loads an XDP program that looks up the `words` words of a packet at `offset` in a trie, and passes it whatever comes of
/// that.
pub(crate) fn load_lookup(trie: BorrowedFd<'_>, offset: i16, words: i16) -> Result<OwnedFd> {
    const R0: u8 = 0;
    const R1: u8 = 1;
    const R2: u8 = 2;
    const R3: u8 = 3;
    const R4: u8 = 4;
    const R10: u8 = 10;
    let load = |to, from, offset| insn(0x61, to, from, offset, 0);
    let store = |to, from, offset| insn(0x63, to, from, offset, 0);
    let key = -4 * (words + 1);
    let end = i32::from(offset + 4 * words);
    // r2 = data, r3 = data_end, r4 = r2 + end; beyond it: out.
    let mut program = vec![
        load(R2, R1, 0),
        load(R3, R1, 4),
        insn(0xbf, R4, R2, 0, 0),
        insn(0x07, R4, 0, 0, end),
        insn(0x2d, R4, R3, 2 * words + 8, 0),
        // The key: how many bits, and the words.
        insn(0x62, R10, 0, key, i32::from(words) * 32),
    ];
    for word in 0..words {
        program.push(load(R0, R2, offset + 4 * word));
        program.push(store(R10, R0, key + 4 * (word + 1)));
    }
    program.extend([
        insn(0x18, R1, PSEUDO_MAP_FD, 0, trie.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xbf, R2, R10, 0, 0),
        insn(0x07, R2, 0, 0, i32::from(key)),
        insn(0x85, 0, 0, 0, MAP_LOOKUP_ELEM),
        insn(0xb7, R0, 0, 0, XDP_PASS),
        insn(0x95, 0, 0, 0, 0),
        // Out.
        insn(0xb7, R0, 0, 0, XDP_PASS),
        insn(0x95, 0, 0, 0, 0),
    ]);
    self::load(&program).context("a program that asks a trie")
}

/// Attaches `program` to an interface of the calling thread's network namespace, in native mode, for as long as the
/// returned link lives.
pub(crate) fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32) -> Result<OwnedFd> {
    let attributes = LinkAttributes {
        program: program.as_raw_fd().cast_unsigned(),
        ifindex,
        attach_type: ATTACH_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    owned(bpf(LINK_CREATE, &attributes).with_context(|| format!("attach XDP to interface {ifindex}"))?)
}

/// An array map with these values.
pub(crate) fn array(values: &[u32]) -> Result<OwnedFd> {
    let attributes = MapAttributes {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: u32::try_from(values.len()).context("array too long")?,
        ..Zeroable::zeroed()
    };
    let map = owned(bpf(MAP_CREATE, &attributes).context("make an array map")?)?;
    for (key, value) in (0_u32..).zip(values) {
        let attributes = ElementAttributes {
            map: map.as_raw_fd().cast_unsigned(),
            zero: 0,
            key: &raw const key as u64,
            value: std::ptr::from_ref(value) as u64,
            flags: 0,
        };
        bpf(MAP_UPDATE_ELEM, &attributes).context("fill an array map")?;
    }
    Ok(map)
}

fn bpf<T: Pod>(command: i64, attributes: &T) -> io::Result<i64> {
    // SAFETY: `attributes` is a live `T` without padding of exactly the length given, laid out as the members of `union
    // bpf_attr` that `command` reads; the pointers inside live until the call returns.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn owned(descriptor: i64) -> Result<OwnedFd> {
    let descriptor = i32::try_from(descriptor).context("descriptor out of range")?;
    // SAFETY: the kernel just made this descriptor for us, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

const MAP_CREATE: i64 = 0;
const MAP_UPDATE_ELEM: i64 = 2;
/// In the source register of a load: the immediate is a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;
/// `BPF_FUNC_map_lookup_elem`.
const MAP_LOOKUP_ELEM: i32 = 1;
const PROG_LOAD: i64 = 5;
const LINK_CREATE: i64 = 28;
const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `struct bpf_insn`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// The source in the upper half, the destination in the lower.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_LINK_CREATE`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LinkAttributes {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_MAP_CREATE`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    zero: u32,
}

/// The head of `union bpf_attr` for `BPF_MAP_UPDATE_ELEM`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ElementAttributes {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

const _: () = assert!(size_of::<Instruction>() == 8, "the kernel counts instructions of eight bytes");
