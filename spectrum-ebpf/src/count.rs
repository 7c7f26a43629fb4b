//! Counters and sampled events: what makes every verdict explainable afterwards (I5).

use aya_ebpf::{EbpfContext as _, helpers::bpf_ktime_get_ns, programs::XdpContext};
use spectrum_common::{
    Reason,
    bucket::Rate,
    layout::{Count, Event, NO_APP, app_counter},
    limits,
    reason::Action,
};

use crate::{
    maps::{APP_COUNTERS, COUNTERS, EVENTS, EXPLAIN, REQUESTS, SAMPLER},
    parse::Packet,
    verdict::Verdict,
    words::Address,
};

const SAMPLE_RATE: Rate = Rate { burst: limits::EVENT_BURST, per_second: limits::EVENTS_PER_SECOND };

/// Counts the verdict on a packet of `length` bytes once, and makes an event of it where it is a drop that the sampler lets through.
#[inline(always)]
pub(crate) fn verdict(ctx: &XdpContext, packet: &Packet, verdict: &Verdict, length: u64) {
    reason(verdict.reason, verdict.app, length);
    if EXPLAIN.load() != 0 {
        event(ctx, packet, verdict, length, 0);
    } else if verdict.reason.action() == Action::Drop
        && let Some(skipped) = sample()
    {
        event(ctx, packet, verdict, length, skipped);
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

/// Whether this CPU may make an event now, and how many verdicts it had to leave out before.
#[inline(always)]
fn sample() -> Option<u64> {
    let sampler = SAMPLER.get_ptr_mut(0)?;
    // SAFETY: as in `add`.
    let sampler = unsafe { &mut *sampler };
    // SAFETY: the helper has no conditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if !sampler.bucket.take(now_ns, SAMPLE_RATE) {
        sampler.skipped += 1;
        return None;
    }
    Some(core::mem::replace(&mut sampler.skipped, 0))
}

#[inline(always)]
fn event(ctx: &XdpContext, packet: &Packet, verdict: &Verdict, length: u64, skipped: u64) {
    // A full ring means that nobody reads: the counters still tell.
    let Some(mut entry) = EVENTS.reserve(0) else { return };
    // SAFETY: the kernel hands a valid context to the program, for as long as it runs.
    let ifindex = unsafe { (*ctx.as_ptr().cast::<aya_ebpf::bindings::xdp_md>()).ingress_ifindex };
    // SAFETY: the helper has no conditions.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let event = entry.as_mut_ptr().cast::<EventWords>();
    // SAFETY: the ring has reserved this place for an event, and every field is written.
    unsafe {
        event.write(EventWords {
            time_ns,
            skipped,
            words: [verdict.reason.index(), verdict.app, verdict.rule, length as u32, ifindex],
            source: packet.source,
            destination: packet.destination,
            ports: packet.ports,
            protocol: u32::from(packet.protocol),
            zero: 0,
        });
    }
    entry.submit(0);
}

/// An [`Event`], by words.
#[repr(C)]
struct EventWords {
    time_ns: u64,
    skipped: u64,
    /// Reason, application, rule, length, interface.
    words: [u32; 5],
    source: Address,
    destination: Address,
    ports: u32,
    protocol: u32,
    zero: u32,
}

const _: () = assert!(size_of::<EventWords>() == size_of::<Event>());
