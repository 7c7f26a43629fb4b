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
    let scope = scope.to_be_bytes();
    let found = match packet.family {
        Family::V4 => {
            let [.., a, b, c, d] = packet.source;
            RULES_V4.get(&Key::new(SCOPE_BITS + 32, RuleKeyV4 { scope, address: [a, b, c, d] }))
        }
        Family::V6 => RULES_V6.get(&Key::new(SCOPE_BITS + 128, RuleKeyV6 { scope, address: packet.source })),
    };
    match found {
        Some(value) => *value,
        None => RuleValue { allow: 0, block: 0 },
    }
}
