//! IP access rules: is this source allowed, blocked, or not spoken of?

use aya_ebpf::btf_maps::lpm_trie::Key;
use spectrum_common::{
    Reason,
    layout::{ClassKey, RuleKeyV4, RuleKeyV6, RuleValue, SCOPE_USER, SteerValue, steer_flags},
    rule_table,
    table::{self, Ahead, Reader as _},
};

use crate::{
    geo,
    maps::{ASN_RULES, COUNTRY_RULES, RULE_TABLE, RULES_V4, RULES_V6},
    parse::{Family, Packet},
    table::Kernel,
    verdict::Verdict,
    words::forgotten,
};

const SCOPE_BITS: u32 = 32;
const _: () = assert!(size_of::<Key<RuleKeyV4>>() == 12 && size_of::<Key<RuleKeyV6>>() == 24);

/// Allow beats block, across targets and scopes. Of several the most specific is told: prefix, network, country.
#[inline(always)]
pub(crate) fn check(packet: &Packet, owner: &SteerValue) -> Verdict {
    let app = owner.app;
    if owner.flags & steer_flags::IP_FIREWALL == 0 {
        return Verdict { reason: Reason::Steered, app, rule: 0 };
    }
    let [.., unknown] = packet.source.map(u64::from);
    let source = packet.source_ahead();
    let said = or(of_address(packet, owner.zone, source), of_address(packet, SCOPE_USER, source));
    let mut said = forgetting(said, unknown);
    // Where no such rule is, the table is not asked: it costs what all the rest does.
    if owner.flags & steer_flags::CLASS_RULES != 0 && said.allow == 0 {
        said = or(said, of_class(packet, owner));
    }
    let said = forgetting(said, unknown);
    if said.allow != 0 {
        return Verdict { reason: Reason::Allowed, app, rule: said.allow };
    }
    if said.block != 0 {
        return Verdict { reason: Reason::Blocked, app, rule: said.block };
    }
    if said.simulate != 0 {
        return Verdict { reason: Reason::Simulated, app, rule: said.simulate };
    }
    Verdict { reason: Reason::Steered, app, rule: 0 }
}

const NOTHING: RuleValue = RuleValue { allow: 0, block: 0, simulate: 0 };

/// What was found, without how it was found: what follows is walked once by the verifier.
#[inline(always)]
fn forgetting(said: RuleValue, unknown: u64) -> RuleValue {
    let forget = |rule: u32| forgotten(rule.into(), unknown) as u32;
    RuleValue { allow: forget(said.allow), block: forget(said.block), simulate: forget(said.simulate) }
}

/// What the first says, and where it says nothing what the second does.
#[inline(always)]
const fn or(first: RuleValue, second: RuleValue) -> RuleValue {
    const fn or(first: u32, second: u32) -> u32 {
        if first == 0 { second } else { first }
    }
    RuleValue {
        allow: or(first.allow, second.allow),
        block: or(first.block, second.block),
        simulate: or(first.simulate, second.simulate),
    }
}

/// What the rules say about the source's network, then about its country.
#[inline(always)]
fn of_class(packet: &Packet, owner: &SteerValue) -> RuleValue {
    let class = geo::class(packet);
    let mut said = NOTHING;
    if owner.flags & steer_flags::ASN_RULES != 0 {
        for scope in [owner.zone, SCOPE_USER] {
            // SAFETY: an element that is replaced while it is read is as old as the packet.
            let found = unsafe { ASN_RULES.get(ClassKey { scope, number: class.asn }) };
            said = or(said, found.copied().unwrap_or(NOTHING));
        }
    }
    if owner.flags & steer_flags::COUNTRY_RULES != 0 {
        for scope in [owner.zone, SCOPE_USER] {
            // SAFETY: as above.
            let found = unsafe { COUNTRY_RULES.get(ClassKey { scope, number: class.country }) };
            said = or(said, found.copied().unwrap_or(NOTHING));
        }
    }
    said
}

/// What the rules of a scope say about the source's address: out of the table, or where that has none out of the tries.
#[inline(always)]
fn of_address(packet: &Packet, scope: u32, Ahead { front, back }: Ahead) -> RuleValue {
    match table_entry(rule_table::slot(scope, packet.family == Family::V6), front, back) {
        rule_table::ASK => lookup(packet, scope),
        entry => rule_table::said(entry),
    }
}

/// The entry of an address in the table, 0 for none; `ASK`: the trie says.
///
/// A function of its own to the verifier too, which follows it once and for any arguments (`btf_check_subprog_call`, 5.6).
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_entry(slot: u32, front: u64, back: u64) -> u32 {
    let Some(table) = RULE_TABLE.get(0) else { return rule_table::ASK };
    let table = Kernel(table);
    match table.word(slot) {
        None => 0,
        Some(rule_table::ASK) => rule_table::ASK,
        Some(root) => table::find(&table, root, Ahead { front, back }).unwrap_or(0),
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
        None => NOTHING,
    }
}
