//! Whom access rules stop in the XDP program, and which of several has its way. Needs root and BPF, nothing else.
#![allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test, as it should")]

use spectrum_common::Reason;
use spectrum_tests::{
    Frame, Kernel,
    kernel::{App, Closed, EDGE, SOURCE, SOURCE_NET},
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
