//! What an application asks of packets that no rule speaks of: that a source, and all of them, send no more than there is
//! room for. The arithmetic is `spectrum_common::fair`.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::XdpContext};
use spectrum_common::{
    Reason,
    fair::{self, Judgement, Limits, Source},
    layout::{PROTOCOL_UDP, SteerValue, steer_flags},
    sketch::{self, Cells},
};

use crate::{
    datagram,
    maps::{POLICIES, SEED, SHARES, SKETCH},
    parse::{Family, Packet},
};

/// Judges what asks an application for something, a request for a connection or a datagram, given what access said.
#[inline(always)]
pub(crate) fn check(ctx: &XdpContext, packet: &Packet, owner: &SteerValue, access: Reason) -> Result<(), Reason> {
    if owner.flags & steer_flags::POLICY == 0 || access == Reason::Allowed {
        return Ok(());
    }
    if packet.protocol != PROTOCOL_UDP && !packet.flags.is_request() {
        return Ok(());
    }
    let Some(policy) = POLICIES.get(owner.app) else { return Ok(()) };
    if packet.protocol == PROTOCOL_UDP {
        datagram::check(ctx, packet, policy.udp_filters)?;
    }
    if policy.limits == (Limits { per_source: fair::UNLIMITED, total: fair::UNLIMITED }) {
        return Ok(());
    }
    let Source { host, network } = source(packet);
    match rate(owner.app, host, network) {
        PASS => Ok(()),
        SOURCE_OVER => Err(Reason::SourceRate),
        _ => Err(Reason::AppRate),
    }
}

const PASS: u64 = 0;
const SOURCE_OVER: u64 = 1;
const TOTAL_OVER: u64 = 2;

/// A function of its own to the kernel too, with a stack frame of its own: what it keeps in mind is nobody else's.
#[inline(never)]
fn rate(app: u32, host: u64, network: u64) -> u64 {
    let (Some(policy), Some(share)) = (POLICIES.get(app), SHARES.get_ptr_mut(app)) else { return PASS };
    // SAFETY: the map returned it. Other CPUs write to it too: see `Share`.
    let share = unsafe { &mut *share };
    // SAFETY: the helper has no conditions.
    let window = sketch::window(unsafe { bpf_ktime_get_ns() });
    match fair::judge(share, policy.limits, &mut Sketch, Source { host, network }, (SEED.load(), app), window) {
        Judgement::Pass => PASS,
        Judgement::SourceOver => SOURCE_OVER,
        Judgement::TotalOver => TOTAL_OVER,
    }
}

#[inline(always)]
fn source(packet: &Packet) -> Source {
    let [first, second, _, last] = packet.source;
    match packet.family {
        // No IPv6 address that anybody sends from begins with 96 zero bits: the two cannot be mistaken for each other.
        Family::V4 => {
            let network = last & u32::from_ne_bytes([255, 255, 255, 0]);
            Source { host: u64::from(last), network: u64::from(network) }
        }
        Family::V6 => {
            let both = |second: u32| u64::from(first) | u64::from(second) << 32;
            Source { host: both(second), network: both(second & u32::from_ne_bytes([255, 255, 0, 0])) }
        }
    }
}

/// The cells in their map.
struct Sketch;

impl Cells for Sketch {
    #[inline(always)]
    fn count(&self, at: u32, window: u32) -> u32 {
        SKETCH.get(at).map_or(0, |cell| cell.count(window))
    }

    #[inline(always)]
    fn raise(&mut self, at: u32, window: u32, to: u32) {
        if let Some(cell) = SKETCH.get_ptr_mut(at) {
            // SAFETY: the map returned it. A count that another CPU writes at the same moment may be lost.
            unsafe { (*cell).raise(window, to) };
        }
    }
}
