//! IP access rules: is this source allowed, blocked, or not spoken of?

use aya_ebpf::btf_maps::lpm_trie::Key;
use spectrum_common::{
    Reason,
    layout::{RuleKeyV4, RuleKeyV6, RuleValue, SCOPE_USER, SteerValue, steer_flags},
};

use crate::{
    maps::{RULES_V4, RULES_V6},
    parse::{Family, Packet},
    verdict::Verdict,
};

const SCOPE_BITS: u32 = 32;
const _: () = assert!(size_of::<Key<RuleKeyV4>>() == 12 && size_of::<Key<RuleKeyV6>>() == 24);

/// Allow beats block, across prefixes and scopes.
#[inline(always)]
pub(crate) fn check(packet: &Packet, owner: &SteerValue) -> Verdict {
    let app = owner.app;
    if owner.flags & steer_flags::IP_FIREWALL == 0 {
        return Verdict { reason: Reason::Steered, app, rule: 0 };
    }
    let user = lookup(packet, SCOPE_USER);
    let zone = lookup(packet, owner.zone);
    if let Some(rule) = first(zone.allow, user.allow) {
        return Verdict { reason: Reason::Allowed, app, rule };
    }
    if let Some(rule) = first(zone.block, user.block) {
        return Verdict { reason: Reason::Blocked, app, rule };
    }
    if let Some(rule) = first(zone.simulate, user.simulate) {
        return Verdict { reason: Reason::Simulated, app, rule };
    }
    Verdict { reason: Reason::Steered, app, rule: 0 }
}

#[inline(always)]
fn first(zone: u32, user: u32) -> Option<u32> {
    match (zone, user) {
        (0, 0) => None,
        (0, rule) | (rule, _) => Some(rule),
    }
}

#[inline(always)]
fn lookup(packet: &Packet, scope: u32) -> RuleValue {
    let scope = scope.to_be();
    let found = match packet.family {
        Family::V4 => {
            let [.., v4] = packet.source;
            let key = [SCOPE_BITS + 32, scope, v4];
            // SAFETY: the same bytes in the same order, in a type of a smaller alignment.
            RULES_V4.get(unsafe { &*core::ptr::from_ref(&key).cast::<Key<RuleKeyV4>>() })
        }
        Family::V6 => {
            let [a, b, c, d] = packet.source;
            let key = [SCOPE_BITS + 128, scope, a, b, c, d];
            // SAFETY: as above.
            RULES_V6.get(unsafe { &*core::ptr::from_ref(&key).cast::<Key<RuleKeyV6>>() })
        }
    };
    match found {
        Some(value) => *value,
        None => RuleValue { allow: 0, block: 0, simulate: 0 },
    }
}
