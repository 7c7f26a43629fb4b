//! Counters and sampled events: what makes every verdict explainable afterwards (I5).

use core::mem::offset_of;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use spectrum_common::{
    Reason,
    bucket::Rate,
    layout::{CAPTURE, Count, Event, NO_APP, app_counter},
    limits,
    reason::Action,
    stride::Stride,
};

use crate::{
    maps::{APP_COUNTERS, COUNTERS, DRAFT, EVENTS, EXPLAIN, REQUESTS, SAMPLER},
    parse::Packet,
    verdict::Verdict,
    words::{Address, masked},
};

const DROPS: Rate = Rate { burst: limits::DROP_SAMPLES, per_second: limits::DROP_SAMPLES };
const TRAFFIC: Rate = Rate { burst: limits::TRAFFIC_BURST, per_second: limits::TRAFFIC_SAMPLES };

/// Counts the verdict on a packet of `length` bytes once, and makes an event of it where it is to be a sample.
#[inline(always)]
pub(crate) fn verdict(ctx: &XdpContext, packet: &Packet, verdict: &Verdict, length: u64) {
    reason(verdict.reason, verdict.app, length);
    if EXPLAIN.load() != 0 {
        event(ctx, packet, verdict, length, [1, 0]);
    } else if verdict.reason.is_ours() {
        sample(ctx, packet, verdict, length);
    }
}

/// Counts one packet under a reason, and under its application if it has one.
#[inline(always)]
pub(crate) fn reason(reason: Reason, app: u32, bytes: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason.index()) {
        add(counter, bytes);
    }
    if app != NO_APP
        && let Some(counter) = APP_COUNTERS.get_ptr_mut(app_counter(app, reason))
    {
        add(counter, bytes);
    }
}

/// Counts one request for a connection to an application.
#[inline(always)]
pub(crate) fn request(app: u32) {
    if let Some(requests) = REQUESTS.get_ptr_mut(app) {
        // SAFETY: as in `add`.
        unsafe { *requests += 1 };
    }
}

#[inline(always)]
fn add(counter: *mut Count, bytes: u64) {
    // SAFETY: the map returned it, and this CPU's slot has no other writer while the program runs.
    let counter = unsafe { &mut *counter };
    counter.packets += 1;
    counter.bytes += bytes;
}

/// Keeps the packet's bytes as they came, if it is looked at later: for a stage that is about to write over them.
#[inline(always)]
pub(crate) fn keep(ctx: &XdpContext, length: u64) {
    if EXPLAIN.load() == 0 {
        let Some(sampler) = SAMPLER.get_ptr_mut(0) else { return };
        // SAFETY: as in `add`.
        if !unsafe { (*sampler).traffic.is_due() } {
            return;
        }
    }
    capture(ctx, length);
}

/// Makes an event of a packet where the samplers let it through.
#[inline(always)]
fn sample(ctx: &XdpContext, packet: &Packet, verdict: &Verdict, length: u64) {
    let Some(sampler) = SAMPLER.get_ptr_mut(0) else { return };
    // SAFETY: as in `add`.
    let sampler = unsafe { &mut *sampler };
    let look = sampler.traffic.pass();
    let look_at_drop = verdict.reason.action() == Action::Drop && sampler.drops.pass();
    if !look && !look_at_drop {
        return;
    }
    // SAFETY: the helper has no conditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let weight = if look { draw(&mut sampler.traffic, now_ns, TRAFFIC) } else { 0 };
    let drops = if look_at_drop { draw(&mut sampler.drops, now_ns, DROPS) } else { 0 };
    if weight | drops != 0 {
        event(ctx, packet, verdict, length, [weight, drops]);
    }
}

/// What a packet stands for as a sample, 0 where it is none.
#[inline(always)]
fn draw(stride: &mut Stride, now_ns: u64, rate: Rate) -> u32 {
    // SAFETY: the helper has no conditions.
    let random = unsafe { bpf_get_prandom_u32() };
    stride.look(now_ns, random, rate).unwrap_or(0)
}

#[inline(always)]
fn event(ctx: &XdpContext, packet: &Packet, verdict: &Verdict, length: u64, [weight, drops]: [u32; 2]) {
    // An answer has been written over its question, which was kept before.
    if verdict.reason.action() != Action::Answer {
        capture(ctx, length);
    }
    let Some(draft) = DRAFT.get_ptr_mut(0) else { return };
    // SAFETY: the kernel hands a valid context to the program, for as long as it runs.
    let ifindex = unsafe { (*ctx.as_ptr().cast::<xdp_md>()).ingress_ifindex };
    // SAFETY: the helper has no conditions.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the map returned it, and this CPU alone writes it.
    unsafe { (*draft).time_ns = time_ns };
    let words = draft.wrapping_byte_add(offset_of!(Event, weight)).cast::<EventWords>();
    // SAFETY: as above, and the words lie within the event.
    unsafe {
        words.write(EventWords {
            words: [weight, drops, verdict.reason.index(), verdict.app, verdict.rule, length as u32, ifindex],
            source: packet.source,
            destination: packet.destination,
            ports: packet.ports,
            protocol: u32::from(packet.protocol),
            tcp_flags: packet.flags.bits(),
            transport: packet.transport as u32,
        });
    }
    // A full ring means that nobody reads: the counters still tell.
    // SAFETY: as above, and all of it has been written at one time or another: a map begins as zeros.
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would go over the stack")]
    let _ = EVENTS.output(unsafe { &*draft }, 0);
}

/// Copies the front of the packet into the draft.
#[inline(always)]
fn capture(ctx: &XdpContext, length: u64) {
    let Some(draft) = DRAFT.get_ptr_mut(0) else { return };
    let to = draft.wrapping_byte_add(offset_of!(Event, bytes)).cast();
    // One less than the length, so that the verifier sees that it is neither zero nor more than there is room for.
    let length = masked::<{ CAPTURE - 1 }>(core::cmp::min(length, CAPTURE as u64) as usize - 1) as u32 + 1;
    // SAFETY: the helper checks the packet's bounds, and the place has room for this many bytes.
    let copied = unsafe { bpf_xdp_load_bytes(ctx.as_ptr().cast(), 0, to, length) };
    let captured = if copied == 0 { length } else { 0 };
    // SAFETY: as in `event`.
    unsafe { (*draft).captured = captured };
}

/// What stands between the time of an [`Event`] and its packet's bytes, by words.
#[repr(C)]
struct EventWords {
    /// Weight, drops, reason, application, rule, length, interface.
    words: [u32; 7],
    source: Address,
    destination: Address,
    ports: u32,
    protocol: u32,
    tcp_flags: u32,
    transport: u32,
}

const _: () = assert!(offset_of!(Event, weight) + size_of::<EventWords>() == offset_of!(Event, captured));
