//! The kernel side of Spectrum. Entry points only: each reads like a table of contents.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(clippy::inline_always, reason = "before 6.13 the frames of caller and callee share 512 bytes of stack")]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros hand contexts over by value")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "ports, protocols and frame lengths fit; the kernel has them in words"
)]

mod access;
mod answer;
mod cookie;
mod count;
mod datagram;
mod fragment;
mod geo;
mod maps;
mod options;
mod orphan;
mod parse;
mod policy;
mod sane;
mod sockets;
mod steering;
mod table;
mod verdict;
mod words;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{sk_lookup, xdp},
    programs::{SkLookupContext, XdpContext},
};
use aya_log_ebpf::debug;
use spectrum_common::{Reason, reason::Action};

use crate::{parse::Packet, verdict::Verdict};

/// Decides what reaches the kernel. Whatever is not addressed to an application passes untouched (I3).
#[xdp]
fn spectrum_xdp(ctx: XdpContext) -> u32 {
    let mut packet = Packet::UNREAD;
    let length = (ctx.data_end() - ctx.data()) as u64;
    let verdict = match parse::read(&ctx, &mut packet) {
        Ok(()) => filter(&ctx, &packet, length),
        Err(reason) => Verdict::of(reason), // I4: fail open, counted.
    };
    count::verdict(&ctx, &packet, &verdict, length);
    debug!(&ctx, "reason {} app {} rule {}", verdict.reason.index(), verdict.app, verdict.rule);
    match verdict.reason.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Answer => xdp_action::XDP_TX,
    }
}

/// The stages of a readable packet, in order; the first that objects has the last word.
#[inline(always)]
fn filter(ctx: &XdpContext, packet: &Packet, length: u64) -> Verdict {
    let owner = match steering::owner(ctx, packet) {
        Ok(owner) => owner,
        Err(reason) => return Verdict::of(reason),
    };
    // Before anything of a header is judged: half of one is none.
    if fragment::is_refused(ctx, packet, owner) {
        return Verdict { reason: Reason::Fragment, app: owner.app, rule: 0 };
    }
    if let Err(reason) = sane::check(packet) {
        return Verdict { reason, app: owner.app, rule: 0 };
    }
    let verdict = access::check(packet, owner);
    if verdict.reason.action() != Action::Pass {
        return verdict;
    }
    if let Err(reason) = policy::check(ctx, packet, owner, verdict.reason) {
        return Verdict { reason, ..verdict };
    }
    if packet.flags.is_request() {
        count::request(owner.app);
        count::keep(ctx, length);
        return cookie::answer(ctx, packet, owner).unwrap_or(verdict);
    }
    if orphan::is_refused(ctx, packet, owner.app) {
        return Verdict { reason: Reason::Orphan, ..verdict };
    }
    verdict
}

/// Leads a connection to an application's port to our listening socket, whatever port that is.
#[sk_lookup]
fn spectrum_steer(ctx: SkLookupContext) -> u32 {
    steering::assign(&ctx)
}

/// Unreachable: the verifier refuses a program that could get here.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that the shield uses are for GPL programs only (kernel/bpf/verifier.c, `check_helper_call`).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
