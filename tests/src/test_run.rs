//! `BPF_PROG_TEST_RUN` by the raw system call, for what aya 0.14 has none: programs that only a descriptor is known of,
//! `sk_lookup`, and frames that are really sent.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};
use bytemuck::{Pod, Zeroable};

/// What a test run answers.
#[derive(Clone, Copy, Debug)]
pub struct TestRun {
    pub verdict: u32,
    /// Mean time of one run, nanoseconds.
    pub nanoseconds: u32,
}

/// Runs an XDP program on `frame` `repeat` times. The frame is not made anew between the runs.
pub fn on_frame(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> Result<TestRun> {
    let attributes = Attributes { repeat, ..Attributes::of(program, frame)? };
    let answer = run(attributes).context("test run of an XDP program")?;
    Ok(TestRun { verdict: answer.verdict, nanoseconds: answer.duration })
}

/// Sends what an XDP program makes of `frame`, `count` times, through the interface that it redirects to. Must run
/// inside that interface's network namespace. The frames are as they were left after their last use, but for their
/// length.
pub fn send(program: BorrowedFd<'_>, frame: &[u8], count: u32) -> Result<()> {
    let frames = Attributes::of(program, frame)?;
    let attributes = Attributes { repeat: count, flags: LIVE_FRAMES, batch_size: LIVE_BATCH, ..frames };
    run(attributes).context("send frames by BPF_PROG_RUN (Linux 5.18)")?;
    Ok(())
}

/// Runs a program that judges a context alone; gives its verdict, and what it made of the context.
pub fn on_context<C: Pod>(program: BorrowedFd<'_>, context: C) -> Result<(u32, C)> {
    let mut out = C::zeroed();
    let size = u32::try_from(size_of::<C>()).context("context too long")?;
    let attributes = Attributes {
        repeat: 1,
        context_size_in: size,
        context_size_out: size,
        context_in: (&raw const context).expose_provenance() as u64,
        context_out: (&raw mut out).expose_provenance() as u64,
        ..Attributes::of(program, &[])?
    };
    let answer = run(attributes).context("test run on a context")?;
    Ok((answer.verdict, out))
}

fn run(mut attributes: Attributes) -> io::Result<Attributes> {
    // SAFETY: `attributes` is laid out as the kernel reads and writes it, without padding, and its pointers are to
    // memory of the sizes that it says, which lives until the call returns.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, &raw mut attributes, size_of::<Attributes>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes) }
}

impl Attributes {
    fn of(program: BorrowedFd<'_>, frame: &[u8]) -> Result<Self> {
        Ok(Self {
            program: program.as_raw_fd().cast_unsigned(),
            data_size_in: u32::try_from(frame.len()).context("frame too long")?,
            data_in: if frame.is_empty() { 0 } else { frame.as_ptr().expose_provenance() as u64 },
            ..Zeroable::zeroed()
        })
    }
}

const PROG_TEST_RUN: libc::c_long = 10;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`.
const LIVE_FRAMES: u32 = 1 << 1;
/// Frames that are under way at once: as many as a NAPI poll takes.
const LIVE_BATCH: u32 = 64;

/// The head of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Attributes {
    program: u32,
    verdict: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    processor: u32,
    batch_size: u32,
    zero: u32,
}
