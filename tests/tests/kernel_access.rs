//! Whom access rules stop in the XDP program, and which of several has its way. Needs root and BPF, nothing else.
#![allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test, as it should")]

use spectrum_common::{
    Reason,
    layout::{RuleKeyV4, RuleValue, SCOPE_USER},
};
use spectrum_tests::{
    Frame, Kernel,
    kernel::{App, Closed, EDGE, SOURCE, SOURCE_NET},
};
use spectrum_user::dataplane::{
    diff::Op,
    image::{MapImage, Prefix},
    rule_table::RuleTable,
};

#[test]
fn a_blocked_source_is_dropped_and_its_neighbour_is_not() {
    for ((frame, net), neighbour) in Frame::both().into_iter().zip(SOURCE_NET).zip(["192.0.3.7", "2001:db8:d::7"]) {
        let mut kernel = Kernel::firewalled();
        kernel.block(net);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
        assert_eq!(kernel.verdict(&frame.from(neighbour).build()), Reason::Steered);
        assert_eq!(kernel.app_counter(1, Reason::Blocked), 1);
    }
}

#[test]
fn an_application_without_ip_firewall_ignores_rules() {
    let mut kernel = Kernel::load();
    for ((frame, edge), source) in Frame::both().into_iter().zip(EDGE).zip(SOURCE) {
        kernel.steer(&App { address: edge.into(), ip_firewall: false, ..App::default() });
        kernel.block(source);
        kernel.block_in(1, source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
    }
}

#[test]
fn a_rule_that_is_only_tried_is_told_and_does_nothing() {
    let mut kernel = Kernel::firewalled();
    for (frame, (source, net)) in Frame::both().into_iter().zip(SOURCE.into_iter().zip(SOURCE_NET)) {
        kernel.simulate(net);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Simulated);
        kernel.block(net);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked, "a rule that is meant goes first");
        kernel.forget_rules();
        kernel.simulate(source);
        kernel.allow(net);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Allowed, "and so does an allow rule");
        kernel.forget_rules();
    }
}

#[test]
fn a_closed_port_is_closed_to_allowed_sources_too() {
    let mut kernel = Kernel::firewalled().with_pools(Closed::Drop);
    for (frame, source) in Frame::both().into_iter().zip(SOURCE) {
        kernel.allow(source);
        assert_eq!(kernel.verdict(&Frame { destination_port: 444, ..frame }.build()), Reason::ClosedPort);
    }
}

#[test]
fn allow_beats_block_whichever_is_more_specific_and_whatever_its_scope() {
    const USER: u32 = 0;
    const ZONE: u32 = 1;
    type Prefixes = [&'static str; 2];
    let pairs: [(Prefixes, Prefixes); 3] = [(SOURCE, SOURCE_NET), (SOURCE_NET, SOURCE), (SOURCE, SOURCE)];
    let mut kernel = Kernel::firewalled();
    for (family, frame) in Frame::both().into_iter().enumerate() {
        for (allow, block) in pairs {
            for (allow_scope, block_scope) in [(USER, USER), (ZONE, ZONE), (USER, ZONE), (ZONE, USER)] {
                kernel.forget_rules();
                kernel.block_in(block_scope, block[family]);
                assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
                kernel.allow_in(allow_scope, allow[family]);
                let said = format!("allow {allow:?} in {allow_scope}, block {block:?} in {block_scope}");
                assert_eq!(kernel.verdict(&frame.build()), Reason::Allowed, "{said}");
            }
        }
    }
}

#[test]
fn a_zones_rules_are_for_its_applications_alone() {
    let mut kernel = Kernel::firewalled();
    for (frame, source) in Frame::both().into_iter().zip(SOURCE) {
        kernel.block_in(2, source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Steered);
        kernel.block_in(1, source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
    }
}

#[test]
fn the_whole_internet_can_be_blocked_but_for_one_address() {
    let mut kernel = Kernel::firewalled();
    kernel.block("0.0.0.0/0");
    kernel.block("::/0");
    for (frame, source) in Frame::both().into_iter().zip(SOURCE) {
        assert_eq!(kernel.verdict(&frame.build()), Reason::Blocked);
        kernel.allow(source);
        assert_eq!(kernel.verdict(&frame.build()), Reason::Allowed);
    }
}

#[test]
fn the_rule_of_the_zone_is_named_before_the_users() {
    let mut kernel = Kernel::firewalled();
    kernel.block(SOURCE[0]);
    let zones = kernel.block_in(1, SOURCE_NET[0]);
    kernel.verdict(&Frame::tcp_syn().build());
    assert_eq!(kernel.events().first().map(|event| event.rule), Some(zones));
}

#[test]
fn the_tries_and_the_table_made_of_them_say_the_same() {
    // Everything, what has gates of all lengths, neighbours, and hosts at both ends of what covers them.
    let rules = [
        ["0.0.0.0/0", "::/0"],
        ["192.0.0.0/9", "2001:db8::/29"],
        ["192.0.2.0/24", "2001:db8:c::/64"],
        ["192.0.2.4/30", "2001:db8:c:0:8000::/65"],
        ["192.0.2.7/32", "2001:db8:c::7/128"],
        ["192.0.2.255/32", "2001:db8:c:0:ffff:ffff:ffff:ffff/128"],
        ["192.0.3.128/25", "2001:db8:c::8000:0/127"],
        ["255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
    ];
    let sources = [
        ["192.0.2.7", "2001:db8:c::7"],
        ["192.0.2.6", "2001:db8:c::6"],
        ["192.0.2.8", "2001:db8:c:0:8000::"],
        ["192.0.2.255", "2001:db8:c:0:ffff:ffff:ffff:ffff"],
        ["192.0.3.0", "2001:db8:c:1::"],
        ["192.0.3.200", "2001:db8:c::8000:1"],
        ["192.128.0.0", "2001:db8:c::8000:2"],
        ["1.0.0.0", "2001:dc0::"],
        ["255.255.255.254", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"],
        ["255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ];
    let mut kernel = Kernel::load_explaining();
    for address in EDGE {
        kernel.steer(&App { address: address.into(), ip_firewall: true, ..App::default() });
    }
    let mut blocked = 0;
    for (last, rule) in rules.iter().enumerate().rev() {
        for (family, frame) in Frame::both().into_iter().enumerate() {
            match last % 3 {
                0 => kernel.block(rule[family]),
                1 => kernel.block_in(1, rule[family]),
                _ => kernel.simulate(rule[family]),
            };
            let frames = sources.map(|source| frame.clone().from(source[family]).build());
            let by_table = frames.each_ref().map(|frame| (kernel.verdict(frame), last_rule(&kernel)));
            kernel.without_table();
            let by_tries = frames.each_ref().map(|frame| (kernel.verdict(frame), last_rule(&kernel)));
            assert_eq!(by_table, by_tries, "from {} on, sources {sources:?}", rule[family]);
            blocked += by_tries.iter().filter(|(reason, _)| *reason == Reason::Blocked).count();
        }
    }
    assert!(blocked > 50, "{blocked}");
}

#[test]
fn a_table_follows_changes_until_its_room_is_used_up() {
    let mut kernel = Kernel::firewalled();
    let frame = Frame::tcp_syn().from("192.0.2.7").build();
    let prefix = |bits: u8| Prefix {
        bits: 32 + u32::from(bits),
        key: RuleKeyV4 { scope: SCOPE_USER.to_be_bytes(), address: [192, 0, 2, if bits == 24 { 0 } else { 7 }] },
    };
    let block = |rule| RuleValue { block: rule, ..RuleValue::default() };
    let mut image = MapImage::default();
    let mut table = RuleTable::of(&image).expect("a table");
    kernel.put_rule_table(&table);
    let mut followed = 0;
    loop {
        // A host within a network: each change leaves a gate behind.
        let host = block(2 + followed % 1000);
        let ops = [Op::SetRuleV4(prefix(32), host), Op::SetRuleV4(prefix(24), block(1))];
        write(&mut image, &ops);
        if !table.follow(&image, &ops) {
            break;
        }
        followed += 1;
        if followed % 1000 == 1 {
            assert_eq!(kernel.verdict(&frame), Reason::Blocked);
            assert_eq!(last_rule(&kernel), Some(host.block), "after {followed} changes");
            let ops = [Op::RemoveRuleV4(prefix(24)), Op::RemoveRuleV4(prefix(32))];
            write(&mut image, &ops);
            assert!(table.follow(&image, &ops));
            assert_eq!(kernel.verdict(&frame), Reason::Steered, "after {followed} changes");
        }
    }
    assert!(followed > 1000, "{followed}");
    // What it said before the change that it could not follow, it says still, until a new one takes its place.
    assert_eq!(kernel.verdict(&frame), Reason::Blocked);
    kernel.put_rule_table(&RuleTable::of(&image).expect("a table"));
    assert_eq!(kernel.verdict(&frame), Reason::Blocked);
}

fn write(image: &mut MapImage, ops: &[Op]) {
    for op in ops {
        image.write(*op);
    }
}

/// The rule that the last packet's event names.
fn last_rule(kernel: &Kernel) -> Option<u32> {
    kernel.events().last().map(|event| event.rule)
}
